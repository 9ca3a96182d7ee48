"""Rejected batches, set aside for who wants to know what came, within a bound for each host."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

import structlog
from google.protobuf.message import DecodeError

from chassis import clock
from chassis.mongo import ASCENDING, Binary, Database, IndexModel
from nightherd.event.v1 import delivery_pb2 as pb

log = structlog.get_logger()
OVERHEAD_BYTES = 512
"""What keeping any batch costs beside its bytes."""
KNOWN_HOSTS = 10_000


class Aside:
    """What was not taken, and why. When the bound is reached, nothing more is kept."""

    def __init__(self, database: "Database[Any]", bound_bytes: int) -> None:
        """Keep at most `bound_bytes` a host."""
        self._aside, self._bound_bytes = database["aside"], bound_bytes
        self._used_bytes: dict[str, int] = {}

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._aside.create_indexes([IndexModel([("h", ASCENDING), ("size", ASCENDING)])])

    async def keep(
        self,
        host_id: str,
        batch: pb.SealedBatch,
        reason: "pb.Rejection.Reason.ValueType",
        detail: str,
    ) -> None:
        """Set one batch aside; the same one again changes nothing."""
        content = batch.SerializeToString()
        size = len(content) + OVERHEAD_BYTES
        if host_id not in self._used_bytes:
            if len(self._used_bytes) >= KNOWN_HOSTS:
                self._used_bytes.clear()
            self._used_bytes[host_id] = await self._used(host_id)
        if self._used_bytes[host_id] + size > self._bound_bytes:
            log.warning("set-aside is full", host=host_id, reason=detail)
            return
        done = await self._aside.update_one(
            {"_id": f"{host_id}/{hashlib.sha256(content).hexdigest()}"},
            {
                "$setOnInsert": {
                    "h": host_id,
                    "time": dt.datetime.now(dt.UTC),
                    "reason": pb.Rejection.Reason.Name(reason),
                    "detail": detail,
                    "batch": Binary(content),
                    "size": size,
                }
            },
            upsert=True,
        )
        if done.upserted_id is not None:
            self._used_bytes[host_id] += size

    async def count(self, host_id: str, from_ns: int | None, to_ns: int | None) -> int:
        """Return how many `erase` would remove."""
        return len(await self._overlapping(host_id, from_ns, to_ns))

    async def erase(self, host_id: str, from_ns: int | None, to_ns: int | None) -> int:
        """Remove what overlaps a span of event time, and what cannot be read; return how many."""
        keys = await self._overlapping(host_id, from_ns, to_ns)
        if keys:
            await self._aside.delete_many({"_id": {"$in": keys}})
            self._used_bytes.pop(host_id, None)
        return len(keys)

    async def _overlapping(self, host_id: str, from_ns: int | None, to_ns: int | None) -> list[str]:
        rows = self._aside.find({"h": host_id}, {"batch": True}, batch_size=8)
        return [row["_id"] async for row in rows if _overlaps(bytes(row["batch"]), from_ns, to_ns)]

    async def _used(self, host_id: str) -> int:
        sizes: list[dict[str, Any]] = [
            {"$match": {"h": host_id}},
            {"$group": {"_id": None, "bytes": {"$sum": "$size"}}},
        ]
        return sum([row["bytes"] async for row in self._aside.aggregate(sizes)])

    async def counts(self, host_ids: Sequence[str]) -> dict[str, int]:
        """Return host -> batches that were set aside."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"h": {"$in": list(host_ids)}}},
            {"$group": {"_id": "$h", "count": {"$sum": 1}}},
        ]
        return {row["_id"]: row["count"] async for row in self._aside.aggregate(pipeline)}


def _overlaps(content: bytes, from_ns: int | None, to_ns: int | None) -> bool:
    try:
        header = pb.BatchHeader.FromString(pb.SealedBatch.FromString(content).header)
    except DecodeError:
        return True
    first = clock.from_timestamp(header.first_event_time)
    last = clock.from_timestamp(header.last_event_time)
    return (from_ns is None or last >= from_ns) and (to_ns is None or first <= to_ns)
