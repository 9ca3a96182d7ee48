"""The spool: sealed batches on disk until every receiver has them, and longer where space allows.

    <folder>/chain           the chain's id, 32 hex digits; deleting the folder begins a new chain
    <folder>/<number>.seg    segments, named by the first batch they hold
    <folder>/cursors         how far each receiver is, and what else spool_state.py remembers

`kill -9` at any byte leaves whole records and at most one torn tail, which is cut off at the start.
"""

from contextlib import suppress
from dataclasses import replace
from errno import EDQUOT, EIO, ENOSPC
from pathlib import Path

from agent import segments
from agent.shelf import Segment
from agent.spool_files import Tail, replace_durably, segment_path
from agent.spool_start import chain_of, find
from agent.spool_state import RECEIVERS, Evicted, State, merged
from agent.stages.seal import Link
from chassis.files import settle
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events

__all__ = ["RECEIVERS", "SEGMENT_BYTES", "Evicted", "Spool"]

SEGMENT_BYTES = 4 << 20


class Spool:
    """All batches of one chain that are still on this disk."""

    def __init__(
        self, folder: Path, quota_bytes: int = 1 << 30, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Open the spool in `folder`, or begin one there.

        Args:
            folder: made (0700) when absent.
            quota_bytes: beyond it the oldest batches go.
            segment_bytes: from this size on a segment is followed by another.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._quota_bytes, self._segment_bytes = folder, quota_bytes, segment_bytes
        self.chain_id, self.is_new = chain_of(folder)
        found = find(folder, self.chain_id)
        self.torn_bytes = found.torn_bytes
        """Bytes that are no batch and were cut off at the start."""
        self._evicted: list[Evicted] = []
        """What the store will never get and nobody was told yet."""
        self._damaged, self._shelf, self.link = found.damaged, found.shelf, found.link
        self.last_event_ns = found.last_event_ns
        self._use(State.read(folder / "cursors", self.chain_id))
        if not self.link.number and not self.is_new:
            # Nothing of it is left, but receivers may have its first batches: begin another one.
            self._begin_chain()
        try:
            self._tail = self._open_segment()
        except OSError:
            if not self._shelf.segments:
                raise
            # No room for a further one: go on with the last.
            self._tail = Tail(self._path(self._shelf.segments[-1]))

    def _begin_chain(self) -> None:
        (self._folder / "chain").unlink()
        self.chain_id, self.is_new = chain_of(self._folder)
        self.link = Link(self.chain_id, 0, b"")
        self._state = State.read(self._folder / "cursors", self.chain_id)

    def _use(self, state: State) -> None:
        """Fit what is remembered to what is here."""
        self._state = state
        if state.head.number > self.link.number:
            # The newest batches are damaged. Receivers may have them: numbers are not used twice.
            self._damaged.append((self.link.number + 1, state.head.number))
            self.link = state.head
        for receiver, number in state.cursors.items():
            state.cursors[receiver] = min(number, self.link.number)
            state.given_up[receiver].through(state.cursors[receiver])
        self._damaged = state.untold(self._damaged)

    def _open_segment(self) -> Tail:
        newest = self._shelf.segments[-1] if self._shelf.segments else None
        is_fresh = newest is None or newest.size_bytes >= self._segment_bytes
        if newest is None or is_fresh:
            newest = Segment(self.link.number + 1)
        tail = Tail(self._path(newest))
        with suppress(OSError):  # what could not be synced is what a loss of power may take
            settle(self._folder)
        if is_fresh:
            self._shelf.put(newest)
        return tail

    def _path(self, segment: Segment) -> Path:
        return segment_path(self._folder, segment.name)

    # -- writing ---------------------------------------------------------------------------------

    def append(self, batches: list[pb.SealedBatch], links: list[Link]) -> list[Evicted]:
        """Write batches and make them durable; return what the store will never get for them.

        Raises:
            OSError: the disk is full or gone. Nothing of the group counts as written; the caller
                keeps it and tries again.
        """
        frames = [segments.frame(batch) for batch in batches]
        content = b"".join(frames)
        while self.size_bytes + len(content) > self._quota_bytes and self._give_up_oldest():
            pass
        offset = self._write(content)
        newest = self._shelf.segments[-1]
        for batch, link, frame in zip(batches, links, frames, strict=True):
            newest.add(pb.BatchHeader.FromString(batch.header), offset)
            offset += len(frame)
            self.link = link
        self._shelf.grow(offset)
        if offset >= self._segment_bytes:
            with suppress(OSError):  # then this one grows until there is room for another
                fresh = self._open_segment()
                self._tail.close()
                self._tail = fresh
        evicted, self._evicted = self._evicted, []
        return evicted

    def _write(self, content: bytes) -> int:
        """Write durably at the end of the newest segment; return where it begins.

        A full disk gets room by what the store has: it is here longer only where space allows.

        Raises:
            OSError: nothing more can be spared, or it is not for want of room.
        """
        while True:
            try:
                return self._tail.write(content)
            except OSError as error:
                is_settled = self._shelf.segments[0].last <= self.cursors["store"]
                if error.errno not in (ENOSPC, EDQUOT) or not is_settled:
                    raise
                if not self._give_up_oldest():
                    raise

    def _give_up_oldest(self) -> bool:
        """Delete the oldest segment, what receivers have where they have anything; False: none.

        Noted, durably where the disk takes it, is who will miss what.
        """
        if len(self._shelf.segments) < 2:  # noqa: PLR2004  (the newest is written to)
            return False
        segment = self._shelf.segments[0]
        for receiver, given_up in self._state.given_up.items():
            first, last, counts = segment.counts_after(self.cursors[receiver])
            if first:
                piece = Evicted(first, last, sum(counts), segment.first_ns, segment.last_ns)
                given_up.add(piece, counts)
                self._evicted += [piece] if receiver == "store" else []
        self._path(segment).unlink(missing_ok=True)
        self._shelf.take_oldest()
        # Afterwards: on a full disk there was no room before.
        with suppress(OSError):  # then the counts are not known after a restart
            self.save_cursors()
        return True

    # -- reading ---------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._shelf.size_bytes

    @property
    def first(self) -> int:
        """First number that is still here; 0 when there is none."""
        return self._shelf.first

    def read(self, number: int) -> pb.SealedBatch | None:
        """Return one batch, or None when it is not here.

        Raises:
            OSError: it cannot be read now, but perhaps later.
        """
        found = self._shelf.find(number)
        if found is None:
            return None
        segment, offset = found
        try:
            record = segments.read_at(self._path(segment), offset)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno != EIO:
                raise
            record = None
        if record is not None and record.header.batch_number == number:
            return record.batch
        segment.forget(number)
        self._damaged.append((number, number))
        return None

    def missing(self, receiver: str, number: int) -> Evicted | None:
        """Return the stretch from `number` on that this receiver can never get; None: none.

        There may be more right after it. None also when the chain has not come to `number`.
        """
        following = self._shelf.following(number) or self.link.number + 1
        if following <= number:
            return None
        hole = self._state.given_up[receiver].at(number, following - 1)
        # Older ones went for the quota; what is missing among those that are here was damaged.
        damaged = not hole.event_count and number > (self._shelf.first or number)
        return replace(hole, cause=events.Gap.CAUSE_SPOOL_DAMAGE) if damaged else hole

    def take_damage(self) -> list[tuple[int, int]]:
        """Return numbers (first, last) that damage took away and that were not told yet."""
        damaged = merged(self._damaged)
        self._state.told = merged([*self._state.told, *damaged])
        self._damaged = []
        return damaged

    # -- cursors ---------------------------------------------------------------------------------

    @property
    def cursors(self) -> dict[str, int]:
        """Receiver -> last number it settled."""
        return self._state.cursors

    def settled(self, receiver: str, number: int) -> None:
        """Note that everything through `number` is settled with `receiver`."""
        if number > self.cursors[receiver]:
            self.cursors[receiver] = min(number, self.link.number)
            self._state.given_up[receiver].through(self.cursors[receiver])

    def rewind(self, receiver: str, number: int) -> None:
        """The receiver wants `number` next: it lost what it had, or knows better than we."""
        self.cursors[receiver] = min(max(number - 1, 0), self.link.number)

    def save_cursors(self) -> None:
        """Write the cursors and what else is remembered.

        Raises:
            OSError: the disk is full or gone.
        """
        self._state.head = self.link
        replace_durably(self._folder / "cursors", self._state.content())

    def close(self) -> None:
        """Save and close."""
        if self._tail.is_open:
            with suppress(OSError):  # costs resends only
                self.save_cursors()
            self._tail.close()
