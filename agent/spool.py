"""The spool: sealed batches on disk until every receiver has them, and longer where space allows.

    <folder>/chain           the chain's id, 32 hex digits; deleting the folder begins a new chain
    <folder>/<number>.seg    segments, named by the first batch they hold
    <folder>/cursors         JSON: receiver -> last number it settled

`kill -9` at any byte leaves whole records and at most one torn tail, which is cut off at the start.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import segments
from agent.stages.seal import Link
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as pb

SEGMENT_BYTES = 4 << 20
RECEIVERS = ("store", "detector", "modeler")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one batch lies."""

    number: int
    segment: int
    offset: int
    size: int
    event_count: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """Batches that had to go before every receiver had them."""

    first: int
    last: int
    event_count: int
    first_ns: int = 0
    last_ns: int = 0
    """From which to which moment their events were, in wall ns; 0: not known."""


class Spool:
    """All batches of one chain that are still on this disk."""

    def __init__(self, folder: Path, quota_bytes: int = 1 << 30) -> None:
        """Open the spool in `folder`, or begin one there.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._quota_bytes = folder, quota_bytes
        self.chain_id, self.is_new = self._chain()
        self.torn_bytes = 0
        """Bytes of a torn tail that were cut off at the start."""
        self.damaged: list[tuple[int, int]] = []
        """Numbers that a damaged record in the middle took away: (first, last)."""
        self._entries: dict[int, Entry] = {}
        self._sizes: dict[int, int] = {}
        self.link = Link(self.chain_id, 0, b"")
        self.last_event_ns = 0
        self._load()
        self.cursors = self._read_cursors()
        self._dropped: dict[str, list[Evicted]] = {receiver: [] for receiver in RECEIVERS}
        self._file = self._open_segment()

    # -- at the start ----------------------------------------------------------------------------

    def _chain(self) -> tuple[bytes, bool]:
        path = self._folder / "chain"
        try:
            known = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except (FileNotFoundError, ValueError):
            known = b""
        if len(known) == 16:  # noqa: PLR2004  (a chain id is 16 bytes)
            return known, False
        fresh = secrets.token_bytes(16)
        for stale in self._folder.glob("*.seg"):
            stale.rename(stale.with_suffix(".orphan"))
        _replace(path, fresh.hex().encode())
        return fresh, True

    def _load(self) -> None:
        paths = sorted(self._folder.glob("*.seg"))
        for path in paths:
            segment, end = int(path.stem), 0
            for record in segments.read(path):
                batch = record.batch()
                header = pb.BatchHeader.FromString(batch.header)
                number = header.batch_number
                if header.chain_id != self.chain_id or number <= self.link.number:
                    end = record.end
                    continue
                if self.link.number and number > self.link.number + 1:
                    self.damaged.append((self.link.number + 1, number - 1))
                self._entries[number] = _entry(
                    header, segment, record.offset, record.end - record.offset
                )
                end = record.end
                self.link = Link(self.chain_id, number, hashlib.sha256(batch.header).digest())
                self.last_event_ns = (
                    header.sealed_time.seconds * 1_000_000_000 + header.sealed_time.nanos
                )
            size = path.stat().st_size
            if size > end:
                self.torn_bytes += size - end
                os.truncate(path, end)
            self._sizes[segment] = end

    def _read_cursors(self) -> dict[str, int]:
        try:
            known = json.loads((self._folder / "cursors").read_text(encoding="ascii"))
        except (OSError, ValueError):
            known = {}
        cursors = known if isinstance(known, dict) else {}
        return {
            receiver: min(int(cursors.get(receiver, 0)), self.link.number)
            if str(cursors.get(receiver, 0)).isdigit()
            else 0
            for receiver in RECEIVERS
        }

    def _open_segment(self) -> int:
        newest = max(self._sizes, default=None)
        if newest is None or self._sizes[newest] >= SEGMENT_BYTES:
            newest = self.link.number + 1
            self._sizes[newest] = 0
        path = self._path(newest)
        self._segment = newest
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:015d}.seg"

    # -- writing ---------------------------------------------------------------------------------

    def append(self, batches: list[pb.SealedBatch], links: list[Link]) -> list[Evicted]:
        """Write batches and make them durable; return what had to go for them.

        Raises:
            OSError: the disk is full or gone. Nothing of the group counts as written; the caller
                keeps it and tries again.
        """
        frames = [segments.frame(batch) for batch in batches]
        evicted = self._make_room(sum(map(len, frames)))
        offset = self._sizes[self._segment]
        try:
            _write_all(self._file, b"".join(frames))
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, offset)
            raise
        for batch, link, content in zip(batches, links, frames, strict=True):
            header = pb.BatchHeader.FromString(batch.header)
            self._entries[link.number] = _entry(header, self._segment, offset, len(content))
            offset += len(content)
            self.link = link
        self._sizes[self._segment] = offset
        if offset >= SEGMENT_BYTES:
            os.close(self._file)
            self._sizes[self.link.number + 1] = 0
            self._file = self._open_segment()
        return evicted

    def _make_room(self, needed: int) -> list[Evicted]:
        """Delete whole segments, what the store has first, until `needed` bytes fit."""
        evicted: list[Evicted] = []
        while self.size_bytes + needed > self._quota_bytes:
            old = [segment for segment in sorted(self._sizes) if segment != self._segment]
            if not old:
                break
            settled = [
                segment for segment in old if self._last_of(segment) <= self.cursors["store"]
            ]
            evicted += self._delete((settled or old)[0])
        return evicted

    def _last_of(self, segment: int) -> int:
        return max((e.number for e in self._entries.values() if e.segment == segment), default=0)

    def _delete(self, segment: int) -> list[Evicted]:
        gone = [e for e in self._entries.values() if e.segment == segment]
        for entry in gone:
            del self._entries[entry.number]
        self._path(segment).unlink(missing_ok=True)
        del self._sizes[segment]
        lost: list[Evicted] = []
        for receiver in RECEIVERS:
            unsent = [e for e in gone if e.number > self.cursors[receiver]]
            if unsent:
                hole = Evicted(
                    min(e.number for e in unsent),
                    max(e.number for e in unsent),
                    sum(e.event_count for e in unsent),
                    min(e.first_ns for e in unsent),
                    max(e.last_ns for e in unsent),
                )
                self._dropped[receiver].append(hole)
                if receiver == "store":
                    lost.append(hole)
        return lost

    # -- reading ---------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    @property
    def first(self) -> int:
        """First number that is still here; 0 when there is none."""
        return min(self._entries, default=0)

    def read(self, number: int) -> pb.SealedBatch | None:
        """Return one batch, or None when it is not here."""
        entry = self._entries.get(number)
        if entry is None:
            return None
        for record in segments.read(self._path(entry.segment), entry.offset):
            return record.batch()
        return None

    def holes(self, receiver: str, number: int) -> Iterator[Evicted]:
        """Yield what a receiver that wants `number` will never get, as far as it is known.

        Also what an earlier run gave up: numbers below the first that is here.
        """
        yield from self._dropped[receiver]
        self._dropped[receiver].clear()
        first = self.first or self.link.number + 1
        if number < first:
            yield Evicted(number, first - 1, 0)

    # -- cursors ---------------------------------------------------------------------------------

    def settled(self, receiver: str, number: int) -> None:
        """Note that everything through `number` is settled with `receiver`."""
        if number > self.cursors[receiver]:
            self.cursors[receiver] = min(number, self.link.number)

    def rewind(self, receiver: str, number: int) -> None:
        """The receiver wants `number` next: it lost what it had, or knows better than we."""
        self.cursors[receiver] = min(max(number - 1, 0), self.link.number)

    def save_cursors(self) -> None:
        """Write the cursors; losing them only costs resends."""
        _replace(self._folder / "cursors", json.dumps(self.cursors).encode())

    def close(self) -> None:
        """Save and close."""
        if self._file >= 0:
            self.save_cursors()
            os.close(self._file)
            self._file = -1


def _entry(header: pb.BatchHeader, segment: int, offset: int, size: int) -> Entry:
    return Entry(
        header.batch_number,
        segment,
        offset,
        size,
        header.event_count,
        clock.from_timestamp(header.first_event_time),
        clock.from_timestamp(header.last_event_time),
    )


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
