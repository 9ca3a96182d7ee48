"""What stands above the images of a body, as its table of ancestors tells it."""

from collections.abc import Iterable

from chassis.text import show
from nightherd.event.v1 import event_pb2 as events

MOST_ANCESTORS = 16
"""What readers take of a line, the nearest; a writer may know more."""
MOST_LINES = 4096
"""Lines remembered at once: a hostile body may name a great many."""

Above = tuple[events.Ancestor, ...]
"""What stands above an image, nearest first."""


class Lineage:
    """Follows the lines of one body.

    A place that is not there ends a line, and so does one that does not lead towards the beginning
    of the table: whatever a body says, no line goes round.
    """

    def __init__(self, body: events.EventBatch) -> None:
        """Read from the table of `body`."""
        self._table = body.ancestors
        self._lines: dict[int, tuple[int, ...]] = {0: ()}
        self._shown: dict[int, str] = {}

    def above(self, image: events.Image) -> Above:
        """Return what stands above an image of this body."""
        return tuple([self._table[place - 1] for place in self._line(image.ancestor)])

    def executables(self, place: int) -> list[str]:
        """Return the executables above an image whose `ancestor` is `place`, as they are shown."""
        return [self._shown.get(each) or self._show(each) for each in self._line(place)]

    def _line(self, first: int) -> tuple[int, ...]:
        found = self._lines.get(first)
        if found is None:
            if len(self._lines) >= MOST_LINES:
                self._lines = {0: ()}
            found = self._lines[first] = self._followed(first)
        return found

    def _followed(self, place: int) -> tuple[int, ...]:
        found: list[int] = []
        bound = len(self._table) + 1
        while 0 < place < bound and len(found) < MOST_ANCESTORS:
            found.append(place)
            place, bound = self._table[place - 1].above, place
        return tuple(found)

    def _show(self, place: int) -> str:
        # Once for each ancestor: lines share what they say, as the table does.
        shown = self._shown[place] = show(self._table[place - 1].executable)
        return shown


def copied(ancestor: events.Ancestor) -> events.Ancestor:
    """Return an ancestor for use outside its body."""
    copy = events.Ancestor()
    copy.CopyFrom(ancestor)
    copy.ClearField("above")
    return copy


def put_above(
    body: events.EventBatch, image: events.Image, above: Iterable[events.Ancestor]
) -> None:
    """Let `image` stand below `above`, nearest first, in the table of its `body`."""
    place = 0
    for ancestor in reversed(tuple(above)):
        added = body.ancestors.add()
        added.CopyFrom(ancestor)
        added.above = place
        place = len(body.ancestors)
    image.ancestor = place
