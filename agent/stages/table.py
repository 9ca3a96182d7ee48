"""The ancestors of a batch, each once, as serialised entries of EventBatch.ancestors."""

from agent.lines import Line
from agent.stages.wire_format import key, varint
from nightherd.event.v1 import event_pb2 as events

_ABOVE = key(events.Ancestor.ABOVE_FIELD_NUMBER, delimited=False)
_OVERHEAD = 5
"""Bytes by which a body grows beside what an entry says."""


class Table:
    """Gives ancestors their places, as images below them come."""

    def __init__(self) -> None:
        """Begin empty."""
        self.entries: list[bytes] = []
        self.size_bytes = 0
        self._places: dict[Line, int] = {}

    def place(self, line: Line) -> int:
        """Return the place of the nearest ancestor of `line`, counted from 1."""
        places = self._places
        new: list[Line] = []
        at: Line | None = line
        place = 0
        while at is not None and not (place := places.get(at, 0)):
            new.append(at)
            at = at.above
        for each in reversed(new):
            content = each.ancestor.SerializeToString()
            if place:
                content += _ABOVE + varint(place)
            self.entries.append(content)
            self.size_bytes += len(content) + _OVERHEAD
            place = places[each] = len(self.entries)
        return place
