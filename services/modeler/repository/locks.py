"""Leases: one holder at a time over all replicas, gone by themselves when the holder dies."""

import datetime as dt
import secrets
from contextlib import suppress
from typing import Any

from chassis.mongo import Database, DuplicateKeyError, ReturnDocument

FREE = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Lease:
    """A named lease. Time is MongoDB's, so clocks of replicas do not matter."""

    def __init__(self, database: "Database[Any]", name: str, held_s: float) -> None:
        """Hold it for `held_s` at a time."""
        self._locks, self._name = database["locks"], name
        self._held = dt.timedelta(seconds=held_s)
        self._holder = secrets.token_hex(8)
        self._exists = False

    async def take(self) -> dict[str, Any] | None:
        """Take or renew the lease; return its document, or None when another holds it."""
        if not self._exists:
            await self._make()
        until = {"$add": ["$$NOW", int(self._held.total_seconds() * 1000)]}
        document: dict[str, Any] | None = await self._locks.find_one_and_update(
            {
                "_id": self._name,
                "$or": [{"holder": self._holder}, {"$expr": {"$lt": ["$until", "$$NOW"]}}],
            },
            [{"$set": {"holder": self._holder, "until": until}}],
            return_document=ReturnDocument.AFTER,
        )
        return document

    async def _make(self) -> None:
        with suppress(DuplicateKeyError):  # another replica was faster
            await self._locks.update_one(
                {"_id": self._name}, {"$setOnInsert": {"holder": "", "until": FREE}}, upsert=True
            )
        self._exists = True

    async def give_back(self, **values: Any) -> bool:
        """Set `values` and let others take it; False when it was lost meanwhile."""
        done = await self._locks.update_one(
            {"_id": self._name, "holder": self._holder},
            {"$set": {**values, "holder": "", "until": FREE}},
        )
        return bool(done.matched_count)

    async def document(self) -> dict[str, Any]:
        """Return the lease's document as it is; empty when nobody ever took it."""
        return await self._locks.find_one({"_id": self._name}) or {}
