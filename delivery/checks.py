"""Whether a batch may be taken: all that can be said of it without knowing its neighbours."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from chassis.tls import Peer
from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1.event_pb2 import EventBatch

BODY_FORMAT = 1
CHAIN_ID_BYTES = 16
HASH_BYTES = 32
SIGNATURE_BYTES = 64
MAX_NUMBER = 10**15 - 1
"""Largest batch number: a batch a second for 30 million years."""
KEYS = 4096
"""Hosts' keys that are kept ready."""
HOST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver takes; the same numbers stand in its Welcome."""

    body_size_bytes: int = 4 << 20
    header_size_bytes: int = 16 << 10
    arguments_size_bytes: int = 4 << 10
    terms: int = 512
    term_size_bytes: int = 128
    counts: int = 2048
    batches_per_second: int = 200
    window: int = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch that passed: its header, its hash, its body opened."""

    batch: pb.SealedBatch
    header: pb.BatchHeader
    hash: bytes
    """SHA-256 over the header's bytes."""
    content: bytes
    """The uncompressed body; empty when the format is not known."""
    flags: tuple[str, ...]
    """What is odd but accepted: "unsigned", "unknown body format", "unknown header field"."""

    @property
    def key(self) -> tuple[str, bytes, int]:
        """What identifies it everywhere: host, chain, number."""
        return self.header.host_id, self.header.chain_id, self.header.batch_number

    def require_host(self, host_id: str) -> None:
        """Refuse the batch unless it is of `host_id`.

        Raises:
            RejectedError: an importer's batch for another host than its Hello named.
        """
        if self.header.host_id != host_id:
            raise RejectedError(
                pb.Rejection.REASON_FOREIGN_HOST,
                "the header names another host than the Hello",
                self.header,
            )

    def body(self) -> EventBatch:
        """Decode the events.

        Raises:
            DecodeError: the content is not an EventBatch.
        """
        return EventBatch.FromString(self.content)


class RejectedError(Exception):
    """A batch is not taken. Settles its number and never ends the stream."""

    def __init__(
        self,
        reason: "pb.Rejection.Reason.ValueType",
        detail: str,
        header: pb.BatchHeader | None = None,
    ) -> None:
        """Say why; `header` is what could be read of it."""
        super().__init__(detail)
        self.reason, self.header = reason, header


def check(batch: pb.SealedBatch, peer: Peer, limits: Limits, *, decode: bool = False) -> Checked:
    """Return `batch` checked, or say why it is not taken.

    Args:
        batch: as it came.
        peer: whose certificate it came with.
        limits: what is taken.
        decode: also see that the body is an EventBatch (receivers that decode it anyway).

    Raises:
        RejectedError: malformed, foreign, oversize, bad frame, size, hash or signature.
    """
    header = _header(batch, limits)
    _belongs(header, peer)
    content = _content(batch, header, limits)
    flags = []
    if len(UnknownFieldSet(header)):
        flags.append("unknown header field")
    if header.body_format != BODY_FORMAT:
        flags.append("unknown body format")
    header_hash = hashlib.sha256(batch.header).digest()
    if not batch.signature:
        flags.append("unsigned")
    elif peer.signing_key is not None and header.origin == pb.ORIGIN_LIVE:
        _signed(batch, header, header_hash, peer.signing_key)
    checked = Checked(batch, header, header_hash, content, tuple(flags))
    if decode and header.body_format == BODY_FORMAT:
        try:
            checked.body()
        except DecodeError:
            raise RejectedError(
                pb.Rejection.REASON_MALFORMED, "the body is not an EventBatch", header
            ) from None
    return checked


def is_host_id(text: str) -> bool:
    """Whether `text` can be a host's id (it becomes part of document ids)."""
    return HOST_ID.fullmatch(text) is not None


def _header(batch: pb.SealedBatch, limits: Limits) -> pb.BatchHeader:
    if not batch.header or len(batch.header) > limits.header_size_bytes:
        raise RejectedError(pb.Rejection.REASON_MALFORMED, "no header, or one far too long")
    try:
        header = pb.BatchHeader.FromString(batch.header)
    except DecodeError:
        raise RejectedError(
            pb.Rejection.REASON_MALFORMED, "the header is not a BatchHeader"
        ) from None
    if (
        len(header.chain_id) != CHAIN_ID_BYTES
        or not 1 <= header.batch_number <= MAX_NUMBER
        or len(header.body_hash) != HASH_BYTES
        or len(header.previous_hash) not in (0, HASH_BYTES)
        or header.event_count < 0
        or not is_host_id(header.host_id)
        or len(batch.signature) not in (0, SIGNATURE_BYTES)
    ):
        raise RejectedError(
            pb.Rejection.REASON_MALFORMED, "the header lacks what every header has", header
        )
    return header


def _belongs(header: pb.BatchHeader, peer: Peer) -> None:
    imports = peer.role == "importer" and header.origin == pb.ORIGIN_IMPORTED
    if header.host_id != peer.host_id and not imports:
        raise RejectedError(
            pb.Rejection.REASON_FOREIGN_HOST,
            "the header names another host than the certificate",
            header,
        )
    if header.herd != peer.herd and not (imports and not peer.herd):
        raise RejectedError(
            pb.Rejection.REASON_FOREIGN_HERD,
            "the header names another herd than the certificate",
            header,
        )


def _longest(texts: Iterable[str]) -> int:
    """Return the bytes of the longest text."""
    return max(map(len, map(str.encode, texts)), default=0)


def _content(batch: pb.SealedBatch, header: pb.BatchHeader, limits: Limits) -> bytes:
    size = header.body_size_bytes
    if not 0 <= size <= limits.body_size_bytes or len(batch.body) > limits.body_size_bytes:
        raise RejectedError(
            pb.Rejection.REASON_OVERSIZE,
            f"the body is {max(size, len(batch.body))} bytes, the limit {limits.body_size_bytes}",
            header,
        )
    index = batch.index
    if (
        len(index.terms) > limits.terms
        or _longest(index.terms) > limits.term_size_bytes
        or len(index.counts) > limits.counts
        or _longest(count.kind for count in index.counts) > limits.term_size_bytes
    ):
        raise RejectedError(
            pb.Rejection.REASON_OVERSIZE, "the index is larger than the limits", header
        )
    if header.body_format != BODY_FORMAT:
        return b""  # a newer agent's: kept as it is, opened by nobody here
    try:
        content = open_frame(batch.body, size)
    except BadFrameError as error:
        raise RejectedError(pb.Rejection.REASON_BAD_FRAME, str(error), header) from None
    except SizeMismatchError as error:
        raise RejectedError(pb.Rejection.REASON_SIZE_MISMATCH, str(error), header) from None
    if hashlib.sha256(content).digest() != header.body_hash:
        raise RejectedError(
            pb.Rejection.REASON_BAD_HASH, "the body's hash is not the header's", header
        )
    return content


@lru_cache(maxsize=KEYS)
def _public_key(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)


def _signed(batch: pb.SealedBatch, header: pb.BatchHeader, header_hash: bytes, key: bytes) -> None:
    try:
        _public_key(key).verify(batch.signature, header_hash)
    except (InvalidSignature, ValueError):
        raise RejectedError(
            pb.Rejection.REASON_BAD_SIGNATURE, "the signature is not the host's", header
        ) from None
