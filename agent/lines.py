"""What stands above images: lines, of which the children of one parent share every part."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from evidence.lineage import MOST_ANCESTORS
from nightherd.event.v1 import event_pb2 as events

MOST_COMMAND_BYTES = 512
MOST_LENGTH = 2 * MOST_ANCESTORS
"""Where a line is cut to what readers take: a program may execute itself without end."""


@dataclass(slots=True, eq=False)
class Line:
    """An image above others, and what stands above that. It never changes."""

    ancestor: events.Ancestor
    above: "Line | None"
    length: int
    """How many there are, this one included."""

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
    ancestor = events.Ancestor(
        exec_id=image.exec_id,
        pid=image.pid,
        executable=image.executable,
        script=image.script,
        command=b" ".join(image.arguments)[:MOST_COMMAND_BYTES],
    )
    return Line(ancestor, above, 1 if above is None else above.length + 1)


def line_of(ancestors: list[events.Ancestor]) -> Line | None:
    """Return a line of `ancestors`, which are nearest first."""
    line: Line | None = None
    for length, ancestor in enumerate(reversed(ancestors), start=1):
        line = Line(ancestor, line, length)
    return line
