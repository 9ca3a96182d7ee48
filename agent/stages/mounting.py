"""Changes of the mount table, each told once: by who made it, with the watched names it concerns.

One source says who mounted what, another, which looks at the table, which watched names other files
are seen under since. Both are held for a moment, and put together by where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.stages.fold import Made
from nightherd.event.v1 import event_pb2 as events

HOLD_NS: Final = 500_000_000
_MOST_HELD: Final = 1000
_MOST_WATCHED: Final = 16
_UNMOUNTED: Final = events.MountChange.OPERATION_UNMOUNTED


@dataclass(slots=True)
class _Place:
    """What happened to one mount point."""

    since_ns: int
    made: list[Made]


class Mountings:
    """Events of mounts that are held."""

    def __init__(self) -> None:
        """Hold none."""
        self._places: dict[tuple[bytes, bool], _Place] = {}

    def add(self, made: Made, now: int) -> list[Made]:
        """Hold one; return those that must go, since there are so many."""
        change = made.event.mount_change
        key = (change.target, change.operation == _UNMOUNTED)
        place = self._places.setdefault(key, _Place(now, []))
        place.made.append(made)
        if len(self._places) > _MOST_HELD or len(place.made) > _MOST_HELD:
            return self.due(now + HOLD_NS)
        return []

    def due(self, now: int) -> list[Made]:
        """Return what was held for long enough."""
        due: list[Made] = []
        for key, place in list(self._places.items()):
            if now - place.since_ns >= HOLD_NS:
                del self._places[key]
                due += _joined(place.made)
        return due


def _joined(some: list[Made]) -> Iterator[Made]:
    """Yield the events of one place: those of nobody only when there are no others."""
    watched = [path for made in some for path in made.event.mount_change.watched_paths]
    known = [made for made in some if made.ran is not None]
    for made in known or some:
        change = made.event.mount_change
        del change.watched_paths[:]
        change.watched_paths.extend(list(dict.fromkeys(watched))[:_MOST_WATCHED])
        made.urgent = made.urgent or bool(watched)
        yield made
