"""Bodies that go, and the marks that say so.

removals: _id, why, host, day, sealed_to, from, to, received_before: see domain/removals.py; when,
who, reason; done: False while it is carried out; count: findings that were removed.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any

from chassis.mongo import ASCENDING, Database, IndexModel, ReturnDocument
from evidence.removals import CONDITIONS, Removal, of_document
from services.store.domain.places import BODIES, PREFIX, bodies_of
from services.store.domain.removals import AUTHORITY, Extent, Sum, of_headers
from services.store.repository.days import Days
from services.store.repository.kept import Kept

PART = 1000
"""Bodies removed at once."""
EVENT_BYTES = 150
"""Bytes an event of a batch whose body's size was not noted."""
VIEWS = {"activity": "activities", "alert": "alerts"}


def headers_query(removal: Removal) -> dict[str, Any]:
    """Return the condition on headers; the same as Removal.covers within a day."""
    query: dict[str, Any] = {"r": {"$lt": removal.received_before_ns}}
    if removal.host_id:
        query["_id"] = {"$gt": f"{removal.host_id}/", "$lt": f"{removal.host_id}0"}
    if removal.sealed_to_ns is not None:
        query["s"] = {"$lte": removal.sealed_to_ns}
    if removal.from_ns is not None:
        query["t1"] = {"$gte": removal.from_ns}
    if removal.to_ns is not None:
        query["t0"] = {"$lte": removal.to_ns}
    return query


class Removals:
    """Marks and what they are about."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database, self._marks = database, database["removals"]
        self._days, self._kept = Days(database), Kept(database)

    async def prepare(self) -> None:
        """Make the index."""
        await self._marks.create_indexes([IndexModel([("host", ASCENDING)])])

    async def begin(self, removal: Removal) -> Removal:
        """Write the mark; durable when this returns, before anything is removed.

        Returns the mark as it stands: as wide as it was under the same id before, or wider.
        """
        change = {name: getattr(removal, field) for name, field in CONDITIONS.items()}
        # What an earlier run removed under the same mark stays accounted for.
        widest = {
            name: change.pop(name)
            for name in ("received_before", "sealed_to")
            if change[name] is not None
        }
        row = await self._marks.find_one_and_update(
            {"_id": removal.removal_id},
            {"$set": {**change, "when": dt.datetime.now(dt.UTC), "done": False}, "$max": widest},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return of_document(row)

    async def end(self, removal: Removal) -> None:
        """Note that all of it is gone."""
        await self._marks.update_one({"_id": removal.removal_id}, {"$set": {"done": True}})

    async def note_findings(self, kind: str, before: dt.datetime, count: int, days: int) -> None:
        """Note that activities or alerts were removed."""
        await self._marks.update_one(
            {"_id": f"findings/{kind}/{before:%Y%m%d}"},
            {
                "$set": {
                    "why": "retention",
                    "when": dt.datetime.now(dt.UTC),
                    "who": "store",
                    "reason": f"{kind} are kept for {days} days",
                    "done": True,
                },
                "$inc": {"count": count},
            },
            upsert=True,
        )

    async def note_headers(self, day: str, days: int, *, done: bool) -> None:
        """Note that the headers of a day go, or are gone."""
        mark = {
            "why": "retention",
            "when": dt.datetime.now(dt.UTC),
            "who": "store",
            "reason": f"headers are kept for {days} days",
            "done": done,
        }
        await self._marks.update_one({"_id": of_headers(day)}, {"$set": mark}, upsert=True)

    async def find(self, removal_id: str) -> tuple[Removal, bool] | None:
        """Return a mark and whether it is done."""
        row = await self._marks.find_one({"_id": removal_id})
        return None if row is None else (of_document(row), row["done"])

    async def of_host(self, host_id: str) -> list[Removal]:
        """Return the marks that may account for bodies of a host."""
        query = {"host": {"$in": ["", host_id]}}
        return [of_document(row) async for row in self._marks.find(query)]

    async def undone(self) -> list[Removal]:
        """Return what was begun and did not end."""
        query = {"done": False, "host": {"$exists": True}}
        return [of_document(row) async for row in self._marks.find(query)]

    async def body_days(self) -> list[str]:
        """Names of the collections of bodies, oldest first."""
        names = await self._database.list_collection_names(
            filter={"name": {"$regex": f"^{BODIES}"}}
        )
        return sorted(names)

    async def days(self, removal: Removal) -> list[str]:
        """Names of the days' collections a mark is about."""
        if removal.day:
            return [removal.day]
        names = await self._database.list_collection_names(
            filter={"name": {"$regex": f"^{PREFIX}"}}
        )
        return sorted(names)

    async def of_day(self, day: str) -> list[Removal]:
        """Return the marks that are about one day alone."""
        return [of_document(row) async for row in self._marks.find({"day": day})]

    async def span(self, day: str) -> tuple[int, int] | None:
        """Return between which times the events of a day lie; None: there are none."""
        row = await self._database["days"].find_one({"_id": day})
        return None if row is None else (row["t0"], row["t1"])

    async def sums(self, day: str, removal: Removal) -> AsyncIterator[Sum]:
        """Yield what a mark takes away of one day, host by host: what is kept is not gone."""
        kept = {}
        if removal.why != AUTHORITY:
            kept = await self._kept.counts(day, headers_query(removal))
        group = {
            "_id": "$h",
            "batches": {"$sum": 1},
            "events": {"$sum": "$e"},
            "first": {"$min": "$t0"},
            "last": {"$max": "$t1"},
        }
        pipeline = [{"$match": headers_query(removal)}, {"$group": group}]
        async for row in self._database[day].aggregate(pipeline, allowDiskUse=True):
            batches, events = kept.get(row["_id"], (0, 0))
            yield Sum(
                row["_id"],
                row["batches"] - batches,
                row["events"] - events,
                row["first"],
                row["last"],
                batches,
            )

    async def add_extent(self, day: str, removal: Removal, extent: Extent) -> None:
        """Add what is left of what a mark is about on one day."""
        group = {
            "_id": None,
            "batches": {"$sum": 1},
            "events": {"$sum": "$e"},
            "bytes": {"$sum": _SIZE},
        }
        pipeline: list[dict[str, Any]] = [
            {"$match": {"$and": [headers_query(removal), {"$expr": {"$gt": [_SIZE, 0]}}]}},
            {"$group": group},
        ]
        if bodies_of(day) in await self.body_days():
            async for row in self._database[day].aggregate(pipeline):
                extent.batches += row["batches"]
                extent.events += row["events"]
                extent.size_bytes += row["bytes"]
        for row in await self._kept_alone(day, removal):
            extent.batches += 1
            extent.events += row["e"]
            extent.size_bytes += row["z"]

    async def _kept_alone(self, day: str, removal: Removal) -> list[dict[str, Any]]:
        """Return what is kept of a day and not there any more where it was."""
        rows = [row async for row in self._kept.rows_of(day, headers_query(removal))]
        gone = await self.without_body(day, [row["_id"] for row in rows])
        return [row for row in rows if row["_id"] in gone]

    async def received_since(self, day: str, received_ns: int) -> list[tuple[str, int]]:
        """Return (id, received) of the batches of a day that came at `received_ns` or later."""
        query = {"r": {"$gte": received_ns}}
        return [(row["_id"], row["r"]) async for row in self._database[day].find(query, {"r": 1})]

    async def without_body(self, day: str, keys: Sequence[str]) -> set[str]:
        """Return which of `keys` have no body."""
        bodies = self._database[bodies_of(day)]
        missing: set[str] = set(keys)
        for start in range(0, len(keys), PART):
            part = {"_id": {"$in": list(keys[start : start + PART])}}
            missing -= {row["_id"] async for row in bodies.find(part, {"_id": True})}
        return missing

    async def drop_day(self, day: str) -> None:
        """Drop the bodies of a day, all at once."""
        await self._database[bodies_of(day)].drop()

    async def remove(self, day: str, removal: Removal) -> None:
        """Remove the bodies of a day that a mark is about; of erased batches the terms too."""
        change: dict[str, Any] = {"z": 0}
        erased = removal.why == AUTHORITY
        if erased:
            change |= {"x": [], "v": {}, "xc": False}
        keys: list[str] = []
        await self._days.changed(day)
        async for row in self._database[day].find(headers_query(removal), {"_id": True}):
            keys.append(row["_id"])
            if len(keys) == PART:
                await self._remove(day, keys, change, erased=erased)
                keys = []
        await self._remove(day, keys, change, erased=erased)
        await self._days.changed(day)

    async def _remove(
        self, day: str, keys: Sequence[str], change: dict[str, Any], *, erased: bool
    ) -> None:
        if keys:
            among = {"_id": {"$in": list(keys)}}
            if erased:
                await self._kept.remove(keys)
            await self._database[bodies_of(day)].delete_many(among)
            await self._database[day].update_many(among, {"$set": change})

    async def bytes_by_host(self, bodies: str) -> dict[str, int]:
        """Return host -> bytes of its bodies on one day."""
        day = PREFIX + bodies.removeprefix(BODIES)
        pipeline: list[dict[str, Any]] = [{"$group": {"_id": "$h", "bytes": {"$sum": _SIZE}}}]
        rows = self._database[day].aggregate(pipeline, allowDiskUse=True)
        return {row["_id"]: row["bytes"] async for row in rows}

    async def oldest(self, bodies: str, host_id: str, excess: int) -> tuple[int, int] | None:
        """Return (sealed not after, bytes) of a host's oldest bodies of a day that make `excess`.

        Fewer when the day has no more; None when it has none.
        """
        day = PREFIX + bodies.removeprefix(BODIES)
        pipeline: list[dict[str, Any]] = [
            {"$match": {"_id": {"$gt": f"{host_id}/", "$lt": f"{host_id}0"}}},
            {"$project": {"s": True, "size": _SIZE}},
            {"$match": {"size": {"$gt": 0}}},
            {"$sort": {"s": ASCENDING}},
        ]
        total, through = 0, None
        async for row in self._database[day].aggregate(pipeline, allowDiskUse=True):
            if total >= excess and row["s"] != through:
                break
            total, through = total + row["size"], row["s"]
        return None if through is None else (through, total)


class OldFindings:
    """Occurrences and their views that are too old."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database

    async def prepare(self) -> None:
        """Make the index."""
        index = IndexModel([("k", ASCENDING), ("t", ASCENDING)])
        await self._database["occurrences"].create_indexes([index])

    async def remove(self, kind: str, before_ns: int) -> int:
        """Remove what happened before; return how many views went. Again: harmless."""
        # Views first: a crash leaves occurrences, which the next run removes.
        view = self._database[VIEWS[kind]]
        gone = await view.delete_many({"t": {"$lt": before_ns}})
        await self._database["occurrences"].delete_many({"k": kind, "t": {"$lt": before_ns}})
        return int(gone.deleted_count)


_SIZE = {"$ifNull": ["$z", {"$multiply": ["$e", EVENT_BYTES]}]}
