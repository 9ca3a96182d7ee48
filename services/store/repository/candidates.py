"""Stored batches that may hold events that match: headers in order of time, bodies on demand.

The walk gives each header with a bound: no event of it, or of any that comes later, lies before
(ascending) or behind (descending) it. What is asked of MongoDB is in conditions.py.
"""

import heapq
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from chassis.mongo import ASCENDING, DESCENDING, Database
from services.store.repository.conditions import (
    NAMES,
    Query,
    Stream,
    Wanted,
    choices_of,
    first_bound,
    ranged,
    span_of,
    streams_of,
)
from services.store.repository.days import Day, Days

MOST_MS = 15_000
"""Longest that MongoDB may look for the next headers."""
SHORT_COUNT = 400
"""Batches up to which it is counted how many a condition leaves."""
READ_AHEAD = 32
FIELDS = {"h": True, "t0": True, "t1": True, "s": True, "k": True}
Row = dict[str, Any]


@dataclass(order=True, slots=True)
class _Head:
    """The next row of a stream; without a row, a bound of those to come."""

    rank: int
    number: int
    bound_ns: int = field(compare=False)
    row: Row | None = field(compare=False)


class Candidates:
    """Reads batches by what their headers say."""

    def __init__(self, database: "Database[Any]", days: Days) -> None:
        """Use `database`."""
        self._database, self._days = database, days

    async def walk(self, wanted: Wanted, *, ascending: bool) -> AsyncIterator[tuple[int, Row]]:
        """Yield (bound in wall ns, header's row), in order of the bound."""
        streams: list[Stream] = []
        cursors: dict[int, Any] = {}
        heap: list[_Head] = []
        sign = 1 if ascending else -1
        async for bound, stream in self._begun(wanted, ascending=ascending):
            heapq.heappush(heap, _Head(sign * bound, len(streams), bound, None))
            streams.append(stream)
        try:
            while heap:
                head = heap[0]
                if head.row is not None:
                    yield head.bound_ns, head.row
                stream = streams[head.number]
                if head.number not in cursors:
                    cursors[head.number] = self._open(stream, ascending=ascending)
                following: Row | None = await anext(cursors[head.number], None)
                if following is None:
                    heapq.heappop(heap)
                    continue
                bound = following[stream.sort] + stream.shift_ns
                if not ascending and wanted.to_ns is not None:
                    bound = min(bound, wanted.to_ns)
                heapq.heapreplace(heap, _Head(sign * bound, head.number, bound, following))
        finally:
            for cursor in cursors.values():
                await cursor.close()

    async def _begun(self, wanted: Wanted, *, ascending: bool) -> AsyncIterator[tuple[int, Stream]]:
        """Yield (bound of its first row, stream); each is asked when its turn comes."""
        if wanted.hosts is not None and not wanted.hosts:
            return
        days = await self._days.overlapping(wanted.from_ns, wanted.to_ns)
        hint: str | None = None
        for day in days if ascending else reversed(days):
            if hint is None:
                hint = await self._hint(day.name, wanted)
            for stream in streams_of(day, wanted, hint, ascending=ascending):
                yield first_bound(day, wanted, stream, ascending=ascending), stream

    async def inside(self, day: Day, wanted: Wanted) -> list[tuple[Query, str]]:
        """Return (query, index) for the batches of a day that lie wholly within the span."""
        queries = []
        for stream in streams_of(
            day,
            replace(wanted, from_ns=None, to_ns=None),
            await self._hint(day.name, wanted),
            ascending=False,
        ):
            query = dict(stream.query)
            if wanted.from_ns is not None:
                query["t0"] = {"$gte": wanted.from_ns}
            if span := span_of(wanted):
                query["t1"] = {
                    **span,
                    **({"$lte": wanted.to_ns} if wanted.to_ns is not None else {}),
                }
            queries.append((query, stream.hint))
        return queries

    async def across_ends(self, wanted: Wanted) -> AsyncIterator[Row]:
        """Yield the rows of batches that lie partly within the span, each once."""
        from_ns, to_ns = wanted.from_ns, wanted.to_ns
        if from_ns is not None and to_ns is not None and from_ns > to_ns:
            return
        for end in {from_ns, to_ns} - {None}:
            async for _, row in self.walk(replace(wanted, from_ns=end, to_ns=end), ascending=False):
                before = from_ns is not None and row["t0"] < from_ns
                behind = to_ns is not None and row["t1"] > to_ns
                # One that lies across both ends comes with the first.
                if (before or (behind and end == to_ns)) and not (before and end != from_ns):
                    yield row

    def _open(self, stream: Stream, *, ascending: bool) -> Any:
        return (
            self._database[stream.day]
            .find(stream.query, FIELDS, batch_size=READ_AHEAD)
            .sort(stream.sort, ASCENDING if ascending else DESCENDING)
            .hint(NAMES[stream.hint])
            .max_time_ms(MOST_MS)
        )

    async def _hint(self, day: str, wanted: Wanted) -> str:
        """Return the index that leaves the fewest batches to look at, with the group it serves."""
        choices = choices_of(wanted)
        if not choices:
            return "time"
        if len(choices) == 1 and not wanted.groups:
            return choices[0][0]
        best, fewest = "time", SHORT_COUNT
        span = span_of(wanted)
        for name, condition in choices:
            query = {**condition, **({"t1": span} if span else {})}
            count = await self._database[day].count_documents(
                query, limit=SHORT_COUNT, hint=NAMES[name.partition(" ")[0]], maxTimeMS=MOST_MS
            )
            if count < fewest or (best == "time" and not ranged(wanted, name)):
                best, fewest = name, min(count, fewest)
        return best
