"""Rows cut to one fact each, for formats in which an event has one file, not several."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evidence.kinds import Row
from evidence.rows import Batch, actor_of, rows
from nightherd.event.v1 import event_pb2 as events


@dataclass(frozen=True, slots=True)
class Fact:
    """One event, or one path out of an event that changed or read several."""

    fact_id: str
    """The event's id; for one path with its number behind a dot."""
    row: Row
    event: events.Event
    image: events.Image | None
    change: events.FileChange.Change | None = None
    read: events.FileRead.Read | None = None


def facts(batch: Batch, places: Iterable[int]) -> Iterator[Fact]:
    """Yield the facts of the events at `places`, in order."""
    places = list(places)
    for place, row in zip(places, rows(batch, places), strict=True):
        event = batch.body.events[place]
        actor = actor_of(event, batch.body)
        image = batch.body.images[actor] if actor >= 0 else None
        changes, reads = event.file_change.changes, event.file_read.reads
        if not changes and not reads:
            yield Fact(row["id"], row, event, image)
        for number, change in enumerate(changes):
            yield Fact(f"{row['id']}.{number}", row, event, image, change=change)
        for number, read in enumerate(reads):
            yield Fact(f"{row['id']}.{number}", row, event, image, read=read)


def facts_in(event: events.Event) -> int:
    """Return how many facts `facts` makes of an event."""
    return max(len(event.file_change.changes) + len(event.file_read.reads), 1)
