"""Bodies that are kept around incidents when their day goes.

kept: a document a batch: _id, h, s, r, t0, t1, e as of its header; day the collection of that; z
bytes of the body; i incidents that keep it, o incidents that had no room for it; copied: its body
is in kept_bodies.
kept_bodies: documents as they lay in their day (see `bodies`), as long as an incident keeps them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from chassis.mongo import ASCENDING, Database, IndexModel, ReplaceOne, UpdateOne
from evidence.removals import Batch
from services.store.domain.incidents import Extent
from services.store.domain.places import KEPT_BODIES, bodies_of
from services.store.repository.bodies import size_of
from services.store.repository.sharding import BY_ID, Sharding

AT_ONCE = 8
"""Bodies copied at once: what it holds in memory."""
FIELDS = ("h", "s", "r", "t0", "t1", "e")
Row = dict[str, Any]


class Kept:
    """Copies of bodies, and which incidents need them."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database
        self._kept, self._bodies = database["kept"], database[KEPT_BODIES]

    async def prepare(self) -> None:
        """Make the indexes."""
        await Sharding(self._database).spread(KEPT_BODIES, BY_ID)
        await self._kept.create_indexes(
            [
                IndexModel([("i", ASCENDING)]),
                IndexModel([("o", ASCENDING)]),
                IndexModel([("day", ASCENDING), ("h", ASCENDING)]),
            ]
        )

    async def around(
        self, day: str, host_id: str, from_ns: int, to_ns: int, condition: Row
    ) -> AsyncIterator[list[tuple[Row, Row]]]:
        """Yield headers' rows of a host with the bodies that are there, some at once, by time."""
        query = {
            "$and": [{"h": host_id, "t1": {"$gte": from_ns}, "t0": {"$lte": to_ns}}, condition]
        }
        fields = dict.fromkeys(FIELDS, True)
        rows = self._database[day].find(query, fields, batch_size=AT_ONCE, allow_disk_use=True)
        part: list[Row] = []
        async for row in rows.sort("t1", ASCENDING):
            part.append(row)
            if len(part) == AT_ONCE:
                yield await self._with_bodies(day, part)
                part = []
        if part:
            yield await self._with_bodies(day, part)

    async def _with_bodies(self, day: str, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
        among = {"_id": {"$in": [row["_id"] for row in rows]}}
        found = self._database[bodies_of(day)].find(among)
        there: dict[str, Row] = {row["_id"]: row async for row in found}
        return [(row, there[row["_id"]]) for row in rows if row["_id"] in there]

    async def known(self, incident_id: str, keys: Sequence[str]) -> set[str]:
        """Return which of `keys` were looked at for an incident before."""
        mine = {"_id": {"$in": list(keys)}, "$or": [{"i": incident_id}, {"o": incident_id}]}
        return {row["_id"] async for row in self._kept.find(mine, {"_id": True})}

    async def keep(self, day: str, incident_id: str, batches: Sequence[tuple[Row, Row]]) -> None:
        """Copy bodies for an incident; again: harmless."""
        # Bodies first: what a document says is kept must be there.
        copies = [ReplaceOne({"_id": body["_id"]}, body, upsert=True) for _, body in batches]
        if copies:
            await self._bodies.bulk_write(copies, ordered=False)
            change = {"$addToSet": {"i": incident_id}, "$set": {"copied": True}}
            await self._note(day, batches, change, {"o": []})

    async def leave_out(
        self, day: str, incident_id: str, batches: Sequence[tuple[Row, Row]]
    ) -> None:
        """Note that an incident has no room for these."""
        await self._note(day, batches, {"$addToSet": {"o": incident_id}}, {"i": []})

    async def _note(
        self, day: str, batches: Sequence[tuple[Row, Row]], change: Row, begun: Row
    ) -> None:
        changes = [
            UpdateOne(
                {"_id": row["_id"]},
                {
                    "$setOnInsert": {
                        "day": day,
                        "z": size_of(body),
                        **{name: row[name] for name in FIELDS},
                        **begun,
                    },
                    **change,
                },
                upsert=True,
            )
            for row, body in batches
        ]
        if changes:
            await self._kept.bulk_write(changes, ordered=False)

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove copies, whoever needs them."""
        among = {"_id": {"$in": list(keys)}}
        # Rows last: by them a run after a crash finds what is left.
        await self._bodies.delete_many(among)
        await self._kept.delete_many(among)

    async def counts(self, day: str, condition: Row) -> dict[str, tuple[int, int]]:
        """Return host -> (batches, events) that are kept of a day."""
        group = {"_id": "$h", "batches": {"$sum": 1}, "events": {"$sum": "$e"}}
        steps: list[Row] = [
            {"$match": {"$and": [{"day": day, "i": {"$ne": []}}, condition]}},
            {"$group": group},
        ]
        rows = self._kept.aggregate(steps)
        return {row["_id"]: (row["batches"], row["events"]) async for row in rows}

    async def rows_of(self, day: str, condition: Row) -> AsyncIterator[Row]:
        """Yield the documents of a day whose bodies are kept."""
        async for row in self._kept.find({"$and": [{"day": day, "i": {"$ne": []}}, condition]}):
            yield row

    async def extents(self, incident_ids: Sequence[str]) -> Mapping[str, Extent]:
        """Return what incidents keep; those that keep nothing and left nothing out are missing."""
        sums: dict[str, list[int]] = {}
        for place, field in ((0, "i"), (2, "o")):
            group = {"_id": f"${field}", "batches": {"$sum": 1}, "bytes": {"$sum": "$z"}}
            among = {"$match": {field: {"$in": list(incident_ids)}}}
            steps: list[Row] = [among, {"$unwind": f"${field}"}, among, {"$group": group}]
            async for row in self._kept.aggregate(steps):
                found = sums.setdefault(row["_id"], [0, 0, 0, 0])
                found[place : place + 2] = row["batches"], row["bytes"]
        return {key: Extent(*found) for key, found in sums.items()}

    async def release(self, incident_ids: Sequence[str]) -> list[str]:
        """Note that incidents need nothing any more; return the days that lose bodies by it.

        Those bodies do not count as kept from now on, and `clear` removes them.
        """
        gone = list(incident_ids)
        await self._kept.update_many(
            {"$or": [{"i": {"$in": gone}}, {"o": {"$in": gone}}]},
            {"$pull": {"i": {"$in": gone}, "o": {"$in": gone}}},
        )
        days: list[str] = await self._kept.distinct("day", {"i": [], "copied": True})
        return days

    async def clear(self) -> None:
        """Remove the bodies that no incident keeps."""
        free = {"i": [], "copied": True}
        while rows := await self._kept.find(free, {"_id": True}).limit(1000).to_list(None):
            among = {"_id": {"$in": [row["_id"] for row in rows]}}
            await self._bodies.delete_many(among)
            await self._kept.update_many(among, {"$unset": {"copied": True}})
        await self._kept.delete_many({"i": [], "o": []})

    async def release_day(self, day: str) -> bool:
        """Note that no incident needs anything of a day; whether `drop` has copies to remove."""
        await self._kept.update_many({"day": day}, {"$set": {"i": [], "o": []}})
        return await self._kept.find_one({"day": day}, {"_id": True}) is not None

    async def drop(self, day: str) -> None:
        """Remove all copies of a day."""
        keys = [row["_id"] async for row in self._kept.find({"day": day}, {"_id": True})]
        await self.remove(keys)


def marked(row: Mapping[str, Any], day: str) -> Batch:
    """Return what marks of removals go by."""
    return Batch(row["h"], day, row["s"], row["t0"], row["t1"], row["r"])
