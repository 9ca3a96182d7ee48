"""Counts of hours that were asked for before: a day is counted once, then only what is new in it.

An hour is the batches, those that span long apart, whose last event lies in it. What was counted
holds as long as no batch came (how many there are is read from an index, each time) and none was
changed in place (`Day.changes`). It lies in this process only: it is never wrong after a crash, and
may be forgotten at any moment.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.conditions import WIDE_NS, Query, Wanted
from services.store.repository.days import HOUR_NS, Day

MOST_HOURS = 48
"""Of one day's collection: one whose events lie far apart is counted as a whole."""
MOST_VALUES = 200_000
"""Counted values in memory, over all hours: 30 MB when they are ids of hosts."""
SIZE_OF_NONE = 10
KEPT_S = 600.0
"""How long what was counted is relied on at most."""
Key = tuple[str, int, int, frozenset[str]]


@dataclass(slots=True)
class Sums:
    """Counts as they grow."""

    total: int = 0
    facets: dict[str, Counter[str]] = field(default_factory=dict)
    slices: Counter[tuple[int, str]] = field(default_factory=Counter)
    unsure: list[str] = field(default_factory=list)
    """Ids of batches whose headers do not say it exactly."""
    complete: bool = True

    @classmethod
    def of(cls, facets: Sequence[str]) -> "Sums":
        """Return counts of nothing yet."""
        return cls(facets={name: Counter() for name in facets})

    def add(self, other: "Sums") -> None:
        """Add what was counted elsewhere."""
        self.total += other.total
        for name, counter in other.facets.items():
            self.facets[name].update(counter)
        self.slices.update(other.slices)
        self.unsure += other.unsure

    def size(self) -> int:
        """Return how many values it holds, and what it costs to hold none."""
        counted = sum(map(len, self.facets.values()))
        return SIZE_OF_NONE + len(self.slices) + len(self.unsure) + counted


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of one day's collection, all of which is asked for."""

    day: Day
    start_ns: int

    def ends(self) -> Query:
        """Return the condition on all its batches, and those that span long."""
        return {"t1": {"$gte": self.start_ns, "$lt": self.start_ns + HOUR_NS}}

    def query(self) -> Query:
        """Return the condition on its batches."""
        return {**self.ends(), "w": {"$ne": True}}

    def key(self, asked: pb.SummariseEventsRequest) -> Key:
        """Return what tells its counts from others."""
        return self.day.name, self.start_ns, asked.slice_seconds, frozenset(asked.facets)


def cut(query: Query, day: Day, wanted: Wanted) -> tuple[list[tuple[Query, str]], list[Hour]]:
    """Cut a question about the batches that lie within a span into whole hours and the rest.

    Returns: (query, index) for the rest, and the hours.
    """
    first, end = day.first_ns, day.last_ns
    if wanted.from_ns is not None:
        # Later by what a batch may span: then all that end there begin within the span.
        first = max(first, wanted.from_ns + WIDE_NS)
    if wanted.to_ns is not None:
        end = min(end, wanted.to_ns + 1)
    first, end = -(-first // HOUR_NS) * HOUR_NS, end // HOUR_NS * HOUR_NS
    if not first < end <= first + MOST_HOURS * HOUR_NS:
        return [(query, "time")], []
    span = query.get("t1", {})
    rest = [
        ({**query, "t1": {**span, "$lt": first}}, "time"),
        ({**query, "t1": {**span, "$gte": end}}, "time"),
    ]
    if day.wide:
        among = {**span, "$gte": first, "$lt": end}
        rest.append(({**query, "w": True, "t1": among}, "wide"))
    return rest, [Hour(day, start) for start in range(first, end, HOUR_NS)]


@dataclass(frozen=True, slots=True)
class _Kept:
    changes: int
    batches: int
    since_s: float
    sums: Sums


class Hours:
    """Remembers counts of hours."""

    def __init__(self, most_values: int = MOST_VALUES) -> None:
        """Know nothing yet; remember at most so many counted values."""
        self._most = most_values
        self._kept: dict[Key, _Kept] = {}
        self._size = 0

    def known(self, hour: Hour, batches: int, asked: pb.SummariseEventsRequest) -> Sums | None:
        """Return what was counted when the hour had so many batches; None: not, or long ago."""
        key = hour.key(asked)
        kept = self._forget(key)
        now = time.monotonic()
        if (
            kept is None
            or (kept.changes, kept.batches) != (hour.day.changes, batches)
            or now - kept.since_s > KEPT_S
        ):
            return None
        self._keep(key, kept)
        return kept.sums

    def note(self, hour: Hour, batches: int, asked: pb.SummariseEventsRequest, sums: Sums) -> None:
        """Remember the counts of an hour that had `batches` before they were made."""
        key = hour.key(asked)
        self._forget(key)
        self._keep(key, _Kept(hour.day.changes, batches, time.monotonic(), sums))

    def _keep(self, key: Key, kept: _Kept) -> None:
        """Put it behind all others; those at the front make room."""
        self._kept[key] = kept
        self._size += kept.sums.size()
        while self._size > self._most:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> _Kept | None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept.sums.size()
        return kept
