"""Stored batches that may hold events that match: headers in order of time, bodies on demand.

A batch lies between t0 and t1. The walk gives each header with a bound: no event of it, or of any
that comes later, lies before (ascending) or behind (descending) it. Batches that span more than
WIDE_NS are marked (`w`): so all others lie near their t1, by which the indexes sort.
"""

import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chassis.mongo import ASCENDING, DESCENDING, Database, IndexModel
from evidence.matching import TermGroup
from services.store.repository.days import LIMIT, Day, Days

WIDE_NS = 60_000_000_000
MOST_MS = 15_000
"""Longest that MongoDB may look for the next headers."""
SHORT_COUNT = 400
"""Batches up to which it is counted how many a condition leaves."""
READ_AHEAD = 32
FIELDS = {"h": True, "t0": True, "t1": True, "s": True, "k": True}
INDEXES = {
    "host": IndexModel([("h", ASCENDING), ("t1", DESCENDING)]),
    "term": IndexModel([("x", ASCENDING), ("t1", DESCENDING)]),
    "herd": IndexModel([("d", ASCENDING), ("t1", DESCENDING)]),
    "time": IndexModel([("t1", DESCENDING)]),
    "cut": IndexModel(
        [("xc", ASCENDING), ("t1", DESCENDING)], partialFilterExpression={"xc": True}
    ),
    "wide": IndexModel([("t0", ASCENDING), ("t1", ASCENDING)], partialFilterExpression={"w": True}),
}
NAMES = {name: index.document["name"] for name, index in INDEXES.items()}
Row = dict[str, Any]
Query = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of batches."""

    hosts: tuple[str, ...] | None = None
    """Ids; None: all hosts."""
    herds: tuple[str, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    groups: tuple[TermGroup, ...] = ()


@dataclass(slots=True)
class _Stream:
    """One query over one day."""

    day: str
    query: Query
    sort: str
    hint: str
    shift_ns: int
    """What to add to the field sorted by, to get the bound."""
    cursor: Any = None


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
        streams: list[_Stream] = []
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
                following = await self._next(stream, ascending=ascending)
                if following is None:
                    heapq.heappop(heap)
                    continue
                bound = following[stream.sort] + stream.shift_ns
                if not ascending and wanted.to_ns is not None:
                    bound = min(bound, wanted.to_ns)
                heapq.heapreplace(heap, _Head(sign * bound, head.number, bound, following))
        finally:
            for stream in streams:
                if stream.cursor is not None:
                    await stream.cursor.close()

    async def _begun(
        self, wanted: Wanted, *, ascending: bool
    ) -> AsyncIterator[tuple[int, _Stream]]:
        """Yield (bound of its first row, stream); each is asked when its turn comes."""
        if wanted.hosts is not None and not wanted.hosts:
            return
        days = await self._days.overlapping(wanted.from_ns, wanted.to_ns)
        hint: str | None = None
        for day in days if ascending else reversed(days):
            if hint is None:
                hint = await self._hint(day.name, wanted)
            for stream in _streams(day, wanted, hint, ascending=ascending):
                yield _begin(day, wanted, stream, ascending=ascending), stream

    async def inside(self, day: Day, wanted: Wanted) -> list[tuple[Query, str]]:
        """Return (query, index) for the batches of a day that lie wholly within the span."""
        queries = []
        for stream in _streams(
            day,
            replace(wanted, from_ns=None, to_ns=None),
            await self._hint(day.name, wanted),
            ascending=False,
        ):
            query = dict(stream.query)
            if wanted.from_ns is not None:
                query["t0"] = {"$gte": wanted.from_ns}
            if span := _span(wanted):
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

    async def _next(self, stream: _Stream, *, ascending: bool) -> Row | None:
        if stream.cursor is None:
            stream.cursor = (
                self._database[stream.day]
                .find(stream.query, FIELDS, batch_size=READ_AHEAD)
                .sort(stream.sort, ASCENDING if ascending else DESCENDING)
                .hint(NAMES[stream.hint])
                .max_time_ms(MOST_MS)
            )
        row: Row | None = await anext(stream.cursor, None)
        return row

    async def _hint(self, day: str, wanted: Wanted) -> str:
        """Return the index that leaves the fewest batches to look at, with the group it serves."""
        choices = _choices(wanted)
        if not choices:
            return "time"
        if len(choices) == 1 and not wanted.groups:
            return choices[0][0]
        best, fewest = "time", SHORT_COUNT
        span = _span(wanted)
        for name, condition in choices:
            query = {**condition, **({"t1": span} if span else {})}
            count = await self._database[day].count_documents(
                query, limit=SHORT_COUNT, hint=NAMES[name.partition(" ")[0]], maxTimeMS=MOST_MS
            )
            if count < fewest or (best == "time" and not _ranged(wanted, name)):
                best, fewest = name, min(count, fewest)
        return best


def _ranged(wanted: Wanted, name: str) -> bool:
    index, _, number = name.partition(" ")
    return index == "term" and bool(wanted.groups[int(number)].prefixes)


def batches_query(wanted: Wanted) -> Query:
    """Return the condition on batches, hosts left out, for a walk that goes by another order."""
    query: Query = {"d": _any(wanted.herds)} if wanted.herds else {}
    if wanted.from_ns is not None:
        query["t1"] = {"$gte": wanted.from_ns}
    if wanted.to_ns is not None:
        query["t0"] = {"$lte": wanted.to_ns}
    if wanted.groups:
        query["$or"] = [{"$and": [_indexed(group) for group in wanted.groups]}, {"xc": True}]
    return query


def _choices(wanted: Wanted) -> list[tuple[str, Query]]:
    """Return (index, with the number of the group for "term"; its condition)."""
    choices: list[tuple[str, Query]] = []
    if wanted.hosts is not None:
        choices.append(("host", {"h": _any(wanted.hosts)}))
    for number, group in enumerate(wanted.groups):
        choices.append((f"term {number}", _indexed(group)))
    if wanted.herds:
        choices.append(("herd", {"d": _any(wanted.herds)}))
    return choices


def _begin(day: Day, wanted: Wanted, stream: _Stream, *, ascending: bool) -> int:
    """Return a bound for the first row of a stream that was not asked yet."""
    if not ascending:
        return day.last_ns if wanted.to_ns is None else min(day.last_ns, wanted.to_ns)
    first = day.first_ns
    if stream.sort == "t1" and wanted.from_ns is not None:
        first = max(first, wanted.from_ns)
    return first + stream.shift_ns


def _streams(day: Day, wanted: Wanted, hint: str, *, ascending: bool) -> list[_Stream]:
    index, _, chosen = hint.partition(" ")
    common: Query = {}
    if wanted.hosts is not None:
        common["h"] = _any(wanted.hosts)
    if wanted.herds:
        common["d"] = _any(wanted.herds)
    ways = [(index, common)]
    if wanted.groups:
        termed = [
            _indexed(group) if index != "term" or str(number) == chosen else _unindexed(group)
            for number, group in enumerate(wanted.groups)
        ]
        whole = {"xc": {"$ne": True}} if day.cut else {}
        ways = [(index, {**common, **whole, "$and": termed})]
        if day.cut:
            ways.append(("cut", {**common, "xc": True}))
    streams = []
    for way, query in ways:
        near, far = _timed(wanted, day, ascending=ascending)
        shift = -WIDE_NS if ascending else 0
        streams.append(_Stream(day.name, {**query, **near}, "t1", way, shift))
        if far is not None:
            streams.append(
                _Stream(day.name, {**query, **far}, "t0" if ascending else "t1", "wide", 0)
            )
    return streams


def _timed(wanted: Wanted, day: Day, *, ascending: bool) -> tuple[Query, Query | None]:
    """Return the conditions on times of batches near their t1, and of the others where needed."""
    near: Query = {"t1": span} if (span := _span(wanted)) else {}
    if wanted.to_ns is not None:
        near["t0"] = {"$lte": wanted.to_ns}
    if not day.wide or (not ascending and wanted.to_ns is None):
        return near, None
    far: Query = {**near, "w": True}
    far.pop("t1", None)
    if not ascending:
        # Those that end soon enough are found among the others.
        far["t1"] = {"$gt": span["$lte"]}
    else:
        near["w"] = {"$ne": True}
        if wanted.from_ns is not None:
            far["t1"] = {"$gte": wanted.from_ns}
    return near, far


def _span(wanted: Wanted) -> dict[str, int]:
    span: dict[str, int] = {}
    if wanted.from_ns is not None:
        span["$gte"] = wanted.from_ns
    if wanted.to_ns is not None:
        span["$lte"] = _limited(wanted.to_ns + WIDE_NS)
    return span


def _limited(time_ns: int) -> int:
    return max(min(time_ns, LIMIT), -LIMIT)


def _any(values: Sequence[str]) -> Any:
    return values[0] if len(values) == 1 else {"$in": list(values)}


def _indexed(group: TermGroup) -> Query:
    """Return a condition on terms that an index serves."""
    ways: list[Query] = []
    if group.terms or not group.prefixes:
        ways.append({"x": _any(group.terms) if group.terms else {"$in": []}})
    ways += [{"x": {"$elemMatch": _range(prefix)}} for prefix in group.prefixes]
    return ways[0] if len(ways) == 1 else {"$or": ways}


def _unindexed(group: TermGroup) -> Query:
    """Return the same as an expression, which the planner does not take for the index's bounds."""
    terms: list[Any] = [{"$literal": term} for term in group.terms]
    ways: list[Any] = [{"$in": [term, "$x"]} for term in terms]
    for prefix in group.prefixes:
        begins = {"$eq": [{"$indexOfBytes": ["$$term", {"$literal": prefix}, 0]}, 0]}
        tests = {"$map": {"input": "$x", "as": "term", "in": begins}}
        ways.append({"$anyElementTrue": [tests]})
    return {"$expr": {"$or": ways}}


def _range(prefix: str) -> dict[str, str]:
    # No shown text holds the last code point: it is no character.
    return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}
