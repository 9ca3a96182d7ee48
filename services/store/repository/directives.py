"""Directives: what is asked of hosts and herds.

A document: _id "host/ID" or "herd/NAME"; paths; level (a number of the contract, 0: the agent's own
setting); by, at: who asked and when; size in bytes.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from typing import Any

from chassis import clock
from chassis.mongo import ASCENDING, Database
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.store.v1 import store_service_pb2 as pb

FRESH_S = 5.0
"""How old the copy may be from which streams are answered; every agent asks all the time."""
MOST_BYTES = 4 << 20
"""Of all that is asked: it is kept in memory, and told in one answer."""
DOCUMENT_BYTES = 64
"""What a document costs beside what is in it."""


class Directives:
    """What is asked, read from memory and written through."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._directives = database["directives"]
        self._known: Mapping[str, delivery.Directive] = {}
        self._read_s = -FRESH_S
        self._reading = asyncio.Lock()

    async def of(self, host_id: str, herd: str) -> delivery.Directive:
        """Return what a host is asked: paths of its herd and its own; its own level first."""
        async with self._reading:  # a thousand agents that connect at once read it once
            if time.monotonic() - self._read_s > FRESH_S:
                began_s = time.monotonic()
                rows = [row async for row in self._directives.find()]
                self._known = {row["_id"]: _directive(row) for row in rows}
                self._read_s = began_s
        own, common = (self._known.get(key) for key in (f"host/{host_id}", f"herd/{herd}"))
        own, common = own or delivery.Directive(), common or delivery.Directive()
        return delivery.Directive(
            watch_paths=dict.fromkeys([*common.watch_paths, *own.watch_paths]),
            level=own.level or common.level,
        )

    async def set(self, record: pb.DirectiveRecord) -> bool:
        """Ask it, or no more; False when too much is asked already."""
        key, size = _key(record), record.ByteSize() + DOCUMENT_BYTES
        if not record.directive.ListFields():
            await self._directives.delete_one({"_id": key})
        elif await self._size_beside(key) + size > MOST_BYTES:
            return False
        else:
            await self._replace(key, record, size)
        self._read_s = -FRESH_S
        return True

    async def _size_beside(self, key: str) -> int:
        steps: list[dict[str, Any]] = [
            {"$match": {"_id": {"$ne": key}}},
            {"$group": {"_id": None, "size": {"$sum": "$size"}}},
        ]
        return sum([row["size"] async for row in self._directives.aggregate(steps)])

    async def _replace(self, key: str, record: pb.DirectiveRecord, size: int) -> None:
        await self._directives.replace_one(
            {"_id": key},
            {
                "size": size,
                "paths": list(record.directive.watch_paths),
                "level": record.directive.level,
                "by": record.entered_by,
                "at": dt.datetime.now(dt.UTC),
            },
            upsert=True,
        )

    async def all(self) -> list[pb.DirectiveRecord]:
        """Return everything that is asked, herds first."""
        return [_record(row) async for row in self._directives.find().sort("_id", ASCENDING)]


def _key(record: pb.DirectiveRecord) -> str:
    kind = record.WhichOneof("whom")
    return f"host/{record.host_id}" if kind == "host_id" else f"herd/{record.herd}"


def _directive(row: Mapping[str, Any]) -> delivery.Directive:
    return delivery.Directive(watch_paths=row["paths"], level=row["level"])


def _record(row: Mapping[str, Any]) -> pb.DirectiveRecord:
    kind, _, name = row["_id"].partition("/")
    record = pb.DirectiveRecord(directive=_directive(row), entered_by=row["by"])
    setattr(record, {"host": "host_id", "herd": "herd"}[kind], name)
    record.entered_time.CopyFrom(clock.to_timestamp(round(row["at"].timestamp() * clock.NS)))
    return record
