"""Rejected batches, set aside for who wants to know what came, within a bound for each host."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

from chassis.mongo import ASCENDING, Binary, Database, IndexModel
from nightherd.event.v1 import delivery_pb2 as pb


class Aside:
    """What was not taken, and why. Counts go on when the bound is reached; bytes do not."""

    def __init__(self, database: "Database[Any]", bound_bytes: int) -> None:
        """Keep at most `bound_bytes` a host."""
        self._aside, self._bound_bytes = database["aside"], bound_bytes

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._aside.create_indexes([IndexModel([("h", ASCENDING)])])

    async def keep(
        self,
        host_id: str,
        batch: pb.SealedBatch,
        reason: "pb.Rejection.Reason.ValueType",
        detail: str,
    ) -> None:
        """Set one batch aside; the same one again changes nothing."""
        content = batch.SerializeToString()
        sizes: list[dict[str, Any]] = [
            {"$match": {"h": host_id}},
            {"$group": {"_id": None, "bytes": {"$sum": "$size"}}},
        ]
        used = [row["bytes"] async for row in self._aside.aggregate(sizes)]
        full = sum(used) + len(content) > self._bound_bytes
        await self._aside.update_one(
            {"_id": f"{host_id}/{hashlib.sha256(content).hexdigest()}"},
            {
                "$setOnInsert": {
                    "h": host_id,
                    "time": dt.datetime.now(dt.UTC),
                    "reason": pb.Rejection.Reason.Name(reason),
                    "detail": detail,
                    "batch": Binary(b"" if full else content),
                    "size": 0 if full else len(content),
                }
            },
            upsert=True,
        )

    async def counts(self, host_ids: Sequence[str]) -> dict[str, int]:
        """Return host -> batches that were rejected."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"h": {"$in": list(host_ids)}}},
            {"$group": {"_id": "$h", "count": {"$sum": 1}}},
        ]
        return {row["_id"]: row["count"] async for row in self._aside.aggregate(pipeline)}
