"""Detectors that watch models, at whichever replica."""

import secrets
from typing import Any

from chassis.mongo import ASCENDING, Database

FRESH_MS = 10_000
"""A replica that died cannot take its detectors off the list: they count as gone after this."""


class Detectors:
    """One document a detector: detector, applied, seen (MongoDB's time), token of its stream."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._detectors = database["detectors"]

    @staticmethod
    def token() -> str:
        """Return a name for one stream: an old stream's end must not remove the new one."""
        return secrets.token_hex(8)

    async def came(self, detector_id: str, token: str, applied: int) -> None:
        """Note that a detector opened a stream, here or at another replica before."""
        fields = {
            "token": token,
            "applied": {"$literal": applied},
            "seen": "$$NOW",
        }
        await self._detectors.update_one({"_id": detector_id}, [{"$set": fields}], upsert=True)

    async def seen(self, detector_id: str, token: str, applied: int) -> None:
        """Note that it is still there; one that is gone does not come back by this."""
        fields = {"applied": {"$literal": applied}, "seen": "$$NOW"}
        await self._detectors.update_one({"_id": detector_id, "token": token}, [{"$set": fields}])

    async def gone(self, detector_id: str, token: str) -> None:
        """Note that a detector's stream ended."""
        await self._detectors.delete_one({"_id": detector_id, "token": token})

    async def connected(self) -> list[tuple[str, int]]:
        """Return (detector, applied revision) of those that are there, sorted."""
        fresh = {"$expr": {"$gt": ["$seen", {"$subtract": ["$$NOW", FRESH_MS]}]}}
        cursor = self._detectors.find(fresh).sort("_id", ASCENDING)
        return [(row["_id"], row["applied"]) async for row in cursor]
