"""Days of headers that go as a whole.

A collection that is being dropped is called old_DAY until it is gone.
"""

from collections.abc import Sequence
from typing import Any

from chassis.mongo import BulkWriteError, Database
from services.store.domain.places import PREFIX
from services.store.repository.day_collections import DayCollections, names_of_days
from services.store.repository.days import Days
from services.store.repository.inserts import only_duplicates

OLD = "old_"
AT_ONCE = 1000


class HeaderDays:
    """Headers of whole days."""

    def __init__(self, database: "Database[Any]", days: Days) -> None:
        """Use `database`; tell `days` what changes."""
        self._database, self._days = database, days

    async def names(self) -> list[str]:
        """Return the days that have headers, oldest first."""
        return await names_of_days(self._database)

    async def came_since(self, day: str, received_ns: int) -> bool:
        """Whether a batch of a day came at `received_ns` or later."""
        late = {"r": {"$gte": received_ns}}
        return await self._database[day].find_one(late, {"_id": True}) is not None

    async def highest(self, day: str) -> dict[str, int]:
        """Return chain (as the key of its document) -> its highest number on a day."""
        steps: list[dict[str, Any]] = [
            {"$group": {"_id": {"h": "$h", "c": "$c"}, "n": {"$max": "$n"}}}
        ]
        rows = self._database[day].aggregate(steps, allowDiskUse=True)
        return {f"{row['_id']['h']}/{row['_id']['c']}": row["n"] async for row in rows}

    async def drop(self, day: str, received_ns: int) -> None:
        """Drop a day but what came at `received_ns` or later: this very moment, for instance."""
        await self._days.changed(day)
        await self._database[day].rename(OLD + day.removeprefix(PREFIX))
        await self.finish(received_ns)
        await self._days.changed(day)

    async def finish(self, received_ns: int) -> None:
        """Drop what is called old, also after a run that was killed."""
        names = await self._database.list_collection_names(filter={"name": {"$regex": f"^{OLD}"}})
        for name in names:
            late = self._database[name].find({"r": {"$gte": received_ns}}, batch_size=AT_ONCE)
            part: list[dict[str, Any]] = []
            async for row in late:
                part.append(row)
                if len(part) == AT_ONCE:
                    await self._put_back(PREFIX + name.removeprefix(OLD), part)
                    part = []
            await self._put_back(PREFIX + name.removeprefix(OLD), part)
            await self._database[name].drop()

    async def _put_back(self, day: str, documents: Sequence[dict[str, Any]]) -> None:
        if documents:
            collection = await DayCollections(self._database).headers(day)
            try:
                await collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                only_duplicates(error)
