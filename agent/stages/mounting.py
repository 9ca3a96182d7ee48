"""Changes of the mount table, each told once: by who made it, with the watched names it concerns.

One source says who mounted what, another, which looks at the table, which watched names other files
are seen under since. Both are held for a moment, and put together by where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.lines import Ran
from agent.sensors.records import MountRecord

HOLD_NS: Final = 500_000_000
_MOST_HELD: Final = 1000
_MOST_WATCHED: Final = 16


Mount = tuple[MountRecord, Ran | None]
"""A change, and who made it where that is known."""


@dataclass(slots=True)
class _Place:
    """What happened to one mount point."""

    since_ns: int
    records: list[Mount]


class Mountings:
    """Mounts that are held."""

    def __init__(self) -> None:
        """Hold none."""
        self._places: dict[tuple[bytes, bool], _Place] = {}

    def add(self, record: MountRecord, ran: Ran | None, now: int) -> Iterator[Mount]:
        """Hold one, that `ran` made if known; yield those that must go, as there are so many."""
        key = (record.target, record.operation == "unmounted")
        place = self._places.setdefault(key, _Place(now, []))
        place.records.append((record, ran))
        if len(self._places) > _MOST_HELD or len(place.records) > _MOST_HELD:
            yield from self.due(now + HOLD_NS)

    def due(self, now: int) -> Iterator[Mount]:
        """Yield what was held for long enough."""
        for key, place in list(self._places.items()):
            if now - place.since_ns >= HOLD_NS:
                del self._places[key]
                yield from _joined(place.records)


def _joined(records: list[Mount]) -> Iterator[Mount]:
    """Yield the records of one place: those of nobody only when there are no others."""
    known = [each for each in records if each[0].pid]
    watched = tuple(dict.fromkeys(path for each, _ in records for path in each.watched))
    for record, ran in known or records:
        yield record._replace(watched=watched[:_MOST_WATCHED]), ran
