"""Which days have batches, and between which times their events lie: questions skip the others.

A document a day: _id the collection; t0, t1 bounds of event times (wall ns), wide of the hour so
that they seldom change; cut, wide: whether such batches are there; changes: see Day. Bounds are
written before the first batch they are needed for, and only widen: so they hold for every replica
at any moment. The document of a day that was dropped may stay.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chassis.mongo import ASCENDING, DESCENDING, Database
from services.store.domain.places import PREFIX

HOUR_NS = 3_600_000_000_000
LIMIT = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Day:
    """What is known of one day's collection."""

    name: str
    first_ns: int
    last_ns: int
    cut: bool = False
    """There are batches whose terms were cut."""
    wide: bool = False
    """There are batches that span a long time."""
    changes: int = 0
    """Rises with every batch that is changed in place."""

    def covers(self, other: "Day") -> bool:
        """Whether what is known here already says all that `other` says."""
        return (
            self.first_ns <= other.first_ns
            and other.last_ns <= self.last_ns
            and self.cut >= other.cut
            and self.wide >= other.wide
        )


class Days:
    """The bounds of all days."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database, self._days = database, database["days"]
        self._known: dict[str, Day] = {}

    async def prepare(self) -> None:
        """Learn the bounds of days that were stored before bounds were kept."""
        names = await self._database.list_collection_names(
            filter={"name": {"$regex": f"^{PREFIX}"}}
        )
        known = {day.name for day in await self.all()}
        for name in sorted(set(names) - known):
            found = (
                await self._database[name].find_one({}, {"t0": True}, sort=[("t0", ASCENDING)]),
                await self._database[name].find_one({}, {"t1": True}, sort=[("t1", DESCENDING)]),
            )
            if found[0] and found[1]:
                await self.widen([Day(name, found[0]["t0"], found[1]["t1"], cut=True, wide=True)])

    async def widen(self, days: Iterable[Day]) -> None:
        """Note that batches are about to be there; durable when this returns."""
        for day in days:
            known = self._known.get(day.name)
            if known is not None and known.covers(day):
                continue
            wider = Day(
                day.name,
                max(day.first_ns // HOUR_NS * HOUR_NS, -LIMIT),
                min((day.last_ns // HOUR_NS + 1) * HOUR_NS, LIMIT),
                day.cut,
                day.wide,
            )
            flags = {name: True for name in ("cut", "wide") if getattr(wider, name)}
            change: dict[str, Any] = {"$min": {"t0": wider.first_ns}, "$max": {"t1": wider.last_ns}}
            if flags:
                change["$set"] = flags
            await self._days.update_one({"_id": day.name}, change, upsert=True)
            self._known[day.name] = wider if known is None else _united(known, wider)

    async def changed(self, name: str) -> None:
        """Note that batches of a day are about to be changed in place, or have been: both.

        What was counted before, and what was counted meanwhile, holds no longer.
        """
        await self._days.update_one({"_id": name}, {"$inc": {"changes": 1}})

    async def all(self) -> list[Day]:
        """Return all days, oldest first."""
        return [_day(row) async for row in self._days.find().sort("_id", ASCENDING)]

    async def overlapping(self, from_ns: int | None, to_ns: int | None) -> list[Day]:
        """Return the days that may have events within a span of event time."""
        query: dict[str, Any] = {}
        if from_ns is not None:
            query["t1"] = {"$gte": from_ns}
        if to_ns is not None:
            query["t0"] = {"$lte": to_ns}
        return [_day(row) async for row in self._days.find(query).sort("_id", ASCENDING)]


def _day(row: dict[str, Any]) -> Day:
    flags = row.get("cut", False), row.get("wide", False)
    return Day(row["_id"], row["t0"], row["t1"], *flags, row.get("changes", 0))


def _united(one: Day, other: Day) -> Day:
    return Day(
        one.name,
        min(one.first_ns, other.first_ns),
        max(one.last_ns, other.last_ns),
        one.cut or other.cut,
        one.wide or other.wide,
    )
