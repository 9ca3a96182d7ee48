"""Whether the chain in a spool folder is whole: for `nightherd verify --spool`."""

import hashlib
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from agent import segments
from agent.stages.wire_format import key as field_key
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events

MOST_BODY_BYTES = 16 << 20
_GAP = field_key(events.Event.GAP_FIELD_NUMBER)
"""Bytes without which a body tells of no gap."""


def verify_spool(folder: Path, key: bytes) -> int:
    """Check numbers, links and (with a 32-byte `key`) signatures; print the result.

    Returns:
        0 when the chain is whole, 1 when it is not, 2 when there is no spool.
    """
    paths = sorted(folder.glob("*.seg"))
    if not paths:
        print(f"no spool in {folder}")  # noqa: T201
        return 2
    walk = _Walk(Ed25519PublicKey.from_public_bytes(key) if key else None)
    for path in paths:
        walk.segment(path)
    return walk.end()


class _Walk:
    """Follows the batches of a spool."""

    def __init__(self, key: Ed25519PublicKey | None) -> None:
        self._key = key
        self._number, self._link = 0, b""
        self._faults = self._count = 0
        self._holes: list[tuple[int, int]] = []
        self._said: set[tuple[int, int]] = set()
        """What batches that are here say to be missing."""

    def segment(self, path: Path) -> None:
        end = 0
        for record in segments.read(path):
            if record.offset > end:
                self._fault(f"{path.name}: {record.offset - end} damaged bytes at {end}")
            if fault := self._batch(record.batch, record.header):
                self._fault(fault)
            self._said |= _given_up(record.header, record.batch.body)
            self._number = record.header.batch_number
            self._link = hashlib.sha256(record.batch.header).digest()
            self._count, end = self._count + 1, record.end
        if (size := path.stat().st_size) > end:
            self._fault(f"{path.name}: {size - end} torn or damaged bytes at the end")

    def end(self) -> int:
        for first, last in self._holes:
            if (first, last) in self._said:
                print(f"batches {first}-{last}: given up by the agent, as a batch here says")  # noqa: T201
            else:
                self._fault(f"batches {first}-{last} are missing, and no batch here says why")
        state = "broken" if self._faults else "intact"
        print(f"{self._count} batches, last {self._number}, head {self._link.hex()}: {state}")  # noqa: T201
        return 1 if self._faults else 0

    def _fault(self, what: str) -> None:
        print(what)  # noqa: T201
        self._faults += 1

    def _batch(self, batch: pb.SealedBatch, header: pb.BatchHeader) -> str:
        """Return what is wrong with the next batch; "": nothing."""
        number, before = header.batch_number, self._number
        if before and number > before + 1:
            self._holes.append((before + 1, number - 1))
        elif before and number != before + 1:
            return f"batch {number} stands behind batch {before}"
        elif before and header.previous_hash != self._link:
            return f"batch {number} does not name the batch before it"
        if self._key is None or not batch.signature:
            return ""
        try:
            self._key.verify(batch.signature, hashlib.sha256(batch.header).digest())
        except InvalidSignature:
            return f"batch {number} is not signed by this key"
        return ""


def _given_up(header: pb.BatchHeader, body: bytes) -> set[tuple[int, int]]:
    """Return which batches (first, last) a batch says to be missing; a damaged one says nothing."""
    if not 0 <= header.body_size_bytes <= MOST_BODY_BYTES:
        return set()
    try:
        if zstandard.frame_content_size(body) != header.body_size_bytes:
            return set()
        raw = zstandard.ZstdDecompressor().decompress(body)
        if _GAP not in raw or hashlib.sha256(raw).digest() != header.body_hash:
            return set()
        told = events.EventBatch.FromString(raw).events
    except (zstandard.ZstdError, DecodeError):
        return set()
    return {
        (event.gap.first_batch, event.gap.last_batch)
        for event in told
        if event.HasField("gap") and event.gap.first_batch
    }
