"""Stored batches as they lie, day after day, by id within a day: what exports are made of.

By id a walk can be taken up anywhere, holds nothing but its place, and keeps chains together.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from chassis.mongo import ASCENDING, Database
from services.store.repository.conditions import Wanted, batches_query
from services.store.repository.days import Days

MOST_MS = 60_000
"""Longest that MongoDB may look for the next headers."""
MOST_BATCHES = 32
"""Batches read at once."""
MOST_BYTES = 2 << 20
"""Bytes of uncompressed bodies read at once, where more than one batch is read."""
FIELDS = {"h": True, "c": True, "s": True, "k": True, "g": True}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A batch in the order of the walk."""

    day: str
    """Name of the day's collection."""
    key: str
    """Id of the batch."""
    included: bool = False
    """Whether the walk begins with it, not behind it."""

    def text(self) -> str:
        """Return it as a position."""
        return f"{self.day}/{self.key}"


class Walk:
    """Reads headers in order of their ids."""

    def __init__(self, database: "Database[Any]", days: Days) -> None:
        """Use `database`."""
        self._database, self._days = database, days

    async def find(self, key: str) -> Place | None:
        """Return where the batch with the id `key` lies; None: it is not there (any more)."""
        for day in reversed(await self._days.all()):
            if await self._database[day.name].find_one({"_id": key}, {"_id": True}):
                return Place(day.name, key, included=True)
        return None

    async def rows(self, wanted: Wanted, start: Place | None) -> AsyncIterator[tuple[str, Row]]:
        """Yield (day, header's row) of batches that may hold what is wanted, from `start` on."""
        query = batches_query(wanted)
        days = await self._days.overlapping(wanted.from_ns, wanted.to_ns)
        for day in days:
            if start is not None and day.name < start.day:
                continue
            begin = start if start is not None and day.name == start.day else None
            hosts = [None] if wanted.hosts is None else sorted(wanted.hosts)
            for host in hosts:
                if (ids := _ids(host, begin)) is None:
                    continue
                cursor = (
                    self._database[day.name]
                    .find({**query, **ids}, FIELDS, batch_size=MOST_BATCHES)
                    .sort("_id", ASCENDING)
                    .max_time_ms(MOST_MS)
                )
                if host is not None or not wanted.groups:
                    cursor = cursor.hint("_id_")
                try:
                    async for row in cursor:
                        yield day.name, row
                finally:
                    await cursor.close()


def _ids(host: str | None, begin: Place | None) -> dict[str, Any] | None:
    """Return the condition on ids; None: all of this host lie before `begin`."""
    ids: dict[str, str] = {}
    if host is not None:
        ids = {"$gt": f"{host}/", "$lt": f"{host}0"}
    if begin is not None:
        if host is not None and begin.key >= ids["$lt"]:
            return None
        if host is None or begin.key > ids["$gt"]:
            ids.pop("$gt", None)
            ids["$gte" if begin.included else "$gt"] = begin.key
    return {"_id": ids} if ids else {}
