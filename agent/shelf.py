"""Where in the spool each batch lies: 12 bytes a batch, for spools of a million batches."""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from chassis import clock
from nightherd.event.v1 import delivery_pb2 as pb

MOST_STEP = 1 << 32
"""Numbers and offsets within one segment are kept in 32 bits."""


def _words() -> "array[int]":
    return array("I")


@dataclass(slots=True)
class Segment:
    """One segment file and the batches in it, which ascend but may have holes (damage)."""

    name: int
    """The number it is named by."""
    size_bytes: int = 0
    base: int = 0
    """Number of the first batch in it; 0: none yet."""
    first_ns: int = 0
    last_ns: int = 0
    """From which to which moment its events were, in wall ns; 0: not known."""
    _steps: "array[int]" = field(default_factory=_words)
    _offsets: "array[int]" = field(default_factory=_words)
    _counts: "array[int]" = field(default_factory=_words)

    def __len__(self) -> int:
        """Batches in it."""
        return len(self._steps)

    def fits(self, number: int, offset: int) -> bool:
        """Whether a batch can be noted here: after the others, and not absurdly far."""
        step = number - (self.base or number)
        return (
            offset < MOST_STEP
            and step < MOST_STEP
            and (not self._steps or step > self._steps[-1])
            and number > 0
        )

    def add(self, header: pb.BatchHeader, offset: int) -> None:
        """Note one batch that fits."""
        number, count = header.batch_number, header.event_count
        first_ns = clock.from_timestamp(header.first_event_time)
        self.base = self.base or number
        self._steps.append(number - self.base)
        self._offsets.append(offset)
        self._counts.append(min(max(count, 0), MOST_STEP - 1))
        self.first_ns = min(self.first_ns or first_ns, first_ns)
        self.last_ns = max(self.last_ns, clock.from_timestamp(header.last_event_time))

    @property
    def last(self) -> int:
        """Number of the last batch in it; 0: none."""
        return self.base + self._steps[-1] if self._steps else 0

    def offset(self, number: int) -> int | None:
        """Where the batch lies; None: not here."""
        place = self._place(number)
        if place < len(self._steps) and self.base + self._steps[place] == number:
            return self._offsets[place]
        return None

    def forget(self, number: int) -> None:
        """The batch cannot be read any more."""
        if self.offset(number) is not None:
            place = self._place(number)
            for column in (self._steps, self._offsets, self._counts):
                del column[place]

    def following(self, number: int) -> int:
        """Return the first number from `number` on that is here; 0: none."""
        place = self._place(number)
        return self.base + self._steps[place] if place < len(self._steps) else 0

    def counts_after(self, number: int) -> tuple[int, int, "array[int]"]:
        """Return first number, last number and events of each batch after `number`."""
        place = self._place(number + 1)
        counts = self._counts[place:]
        return (self.base + self._steps[place], self.last, counts) if counts else (0, 0, counts)

    def _place(self, number: int) -> int:
        step = number - self.base
        if step <= 0:
            return 0
        # Without damage a batch's place is its step.
        if step < len(self._steps) and self._steps[step] == step:
            return step
        return bisect_left(self._steps, step)


class Shelf:
    """All segments of a spool, the oldest first."""

    def __init__(self) -> None:
        """Begin empty."""
        self.segments: list[Segment] = []
        self.size_bytes = 0

    def put(self, segment: Segment) -> Segment:
        """Add the newest segment."""
        self.segments.append(segment)
        self.size_bytes += segment.size_bytes
        return segment

    def grow(self, size_bytes: int) -> None:
        """The newest segment has `size_bytes` now."""
        self.size_bytes += size_bytes - self.segments[-1].size_bytes
        self.segments[-1].size_bytes = size_bytes

    def take_oldest(self) -> Segment:
        """Remove and return the oldest segment."""
        oldest = self.segments.pop(0)
        self.size_bytes -= oldest.size_bytes
        return oldest

    @property
    def first(self) -> int:
        """First number that is here; 0: none."""
        return self.following(1)

    def find(self, number: int) -> tuple[Segment, int] | None:
        """Return the segment that holds a batch, and where; None: not here."""
        segment = self._segment(number)
        offset = segment.offset(number) if segment else None
        return None if segment is None or offset is None else (segment, offset)

    def following(self, number: int) -> int:
        """Return the first number from `number` on that is here; 0: none."""
        at = max(self._at(number), 0)
        for segment in self.segments[at:]:
            if found := segment.following(number):
                return found
        return 0

    def _segment(self, number: int) -> Segment | None:
        at = self._at(number)
        return self.segments[at] if at >= 0 else None

    def _at(self, number: int) -> int:
        """Place of the last segment that begins at `number` or before; -1: none."""
        return bisect_right(self.segments, number, key=_begin) - 1


def _begin(segment: Segment) -> int:
    # A segment without batches is the newest, and begins where it is named.
    return segment.base or segment.name
