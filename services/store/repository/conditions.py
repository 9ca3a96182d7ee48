"""What is asked of stored batches, as queries that an index serves.

A batch lies between t0 and t1. Batches that span more than WIDE_NS are marked (`w`): so all others
lie near their t1, by which the indexes sort. Terms of a batch are in `x`; where cut, `xc` is set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chassis.mongo import ASCENDING, DESCENDING, IndexModel
from evidence.matching import TermGroup
from services.store.repository.days import LIMIT, Day

WIDE_NS = 60_000_000_000
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


@dataclass(frozen=True, slots=True)
class Stream:
    """One query over one day, whose rows come in order."""

    day: str
    query: Query
    sort: str
    hint: str
    shift_ns: int
    """What to add to the field sorted by, to get the bound."""


def ranged(wanted: Wanted, name: str) -> bool:
    """Whether a choice looks up beginnings of terms, not whole ones."""
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


def choices_of(wanted: Wanted) -> list[tuple[str, Query]]:
    """Return (index, with the number of the group for "term"; its condition)."""
    choices: list[tuple[str, Query]] = []
    if wanted.hosts is not None:
        choices.append(("host", {"h": _any(wanted.hosts)}))
    for number, group in enumerate(wanted.groups):
        choices.append((f"term {number}", _indexed(group)))
    if wanted.herds:
        choices.append(("herd", {"d": _any(wanted.herds)}))
    return choices


def first_bound(day: Day, wanted: Wanted, stream: Stream, *, ascending: bool) -> int:
    """Return a bound for the first row of a stream that was not asked yet."""
    if not ascending:
        return day.last_ns if wanted.to_ns is None else min(day.last_ns, wanted.to_ns)
    first = day.first_ns
    if stream.sort == "t1" and wanted.from_ns is not None:
        first = max(first, wanted.from_ns)
    return first + stream.shift_ns


def streams_of(day: Day, wanted: Wanted, hint: str, *, ascending: bool) -> list[Stream]:
    """Return the queries that together find what is wanted of a day, each row once.

    Args:
        day: what is known of the day.
        wanted: what is asked.
        hint: the name of one of `choices_of`, or "time".
        ascending: the order of the rows.
    """
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
        streams.append(Stream(day.name, {**query, **near}, "t1", way, shift))
        if far is not None:
            streams.append(
                Stream(day.name, {**query, **far}, "t0" if ascending else "t1", "wide", 0)
            )
    return streams


def _timed(wanted: Wanted, day: Day, *, ascending: bool) -> tuple[Query, Query | None]:
    """Return the conditions on times of batches near their t1, and of the others where needed."""
    near: Query = {"t1": span} if (span := span_of(wanted)) else {}
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


def span_of(wanted: Wanted) -> dict[str, int]:
    """Return the condition on t1; empty: any."""
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
