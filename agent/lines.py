"""What stands above images: lines, of which the children of one parent share every part."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from agent.stages.bounds import MOST_LINE_BYTES, cut_path
from evidence.lineage import MOST_ANCESTORS
from nightherd.event.v1 import event_pb2 as events

MOST_COMMAND_BYTES = 512
MOST_LENGTH = 2 * MOST_ANCESTORS
"""Where a line is cut to what readers take: a program may execute itself without end."""

_OVERHEAD = 16
"""Bytes that an ancestor takes in a batch beside its content."""


@dataclass(slots=True, eq=False)
class Line:
    """An image above others, and what stands above that. It never changes."""

    ancestor: events.Ancestor
    above: "Line | None"
    length: int
    """How many there are, this one included."""
    size_bytes: int
    """What they say, serialised."""

    def __iter__(self) -> Iterator[events.Ancestor]:
        """Yield the ancestors, nearest first."""
        at: Line | None = self
        while at is not None:
            yield at.ancestor
            at = at.above


class Ran(NamedTuple):
    """An image and what stands above it: what an event is laid to."""

    image: events.Image
    above: Line | None = None


def below(ran: Ran) -> Line:
    """Return what stands above whatever `ran` starts."""
    image, above = ran
    if above is not None and above.length >= MOST_LENGTH:
        above = line_of(list(islice(above, MOST_ANCESTORS)))
    if above is not None and above.size_bytes > MOST_LINE_BYTES:
        above = nearest(above, MOST_LINE_BYTES // 2)
    ancestor = events.Ancestor(
        exec_id=image.exec_id,
        pid=image.pid,
        executable=cut_path(image.executable)[0],
        script=cut_path(image.script)[0],
        command=b" ".join(image.arguments)[:MOST_COMMAND_BYTES],
    )
    return _put_below(ancestor, above)


def line_of(ancestors: list[events.Ancestor]) -> Line | None:
    """Return a line of `ancestors`, which are nearest first."""
    line: Line | None = None
    for ancestor in reversed(ancestors):
        line = _put_below(ancestor, line)
    return line


def nearest(line: Line, most_bytes: int) -> Line | None:
    """Return those of a line that are nearest and together say no more than `most_bytes`."""
    if line.size_bytes <= most_bytes:
        return line
    kept: list[events.Ancestor] = []
    for ancestor in line:
        most_bytes -= ancestor.ByteSize() + _OVERHEAD
        if most_bytes < 0:
            break
        kept.append(ancestor)
    return line_of(kept)


def _put_below(ancestor: events.Ancestor, above: Line | None) -> Line:
    size = ancestor.ByteSize() + _OVERHEAD
    if above is None:
        return Line(ancestor, None, 1, size)
    return Line(ancestor, above, above.length + 1, above.size_bytes + size)
