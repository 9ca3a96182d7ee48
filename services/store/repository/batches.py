"""Batches that are stored, read back in the order of their chains (see `headers` and `bodies`).

What incidents keep lies in kept_bodies.
"""

import heapq
from collections.abc import AsyncIterator, Sequence
from typing import Any

from chassis.mongo import ASCENDING, DESCENDING, Database
from evidence.removals import Removal
from services.store.domain.custody import Stored
from services.store.domain.places import KEPT_BODIES, bodies_of, chain_key, collection_of
from services.store.repository import bodies
from services.store.repository.day_collections import names_of_days
from services.store.repository.headers import FORK, marked

READ_AHEAD = 8
"""Batches read at once from each day: what a long walk holds in memory."""


class Batches:
    """All stored batches."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database

    async def days(self) -> list[str]:
        """Names of the collections there are, oldest first."""
        return await names_of_days(self._database)

    async def chain(
        self,
        host_id: str,
        chain_id: bytes,
        from_ns: int | None,
        to_ns: int | None,
        removals: Sequence[Removal] = (),
    ) -> AsyncIterator[Stored]:
        """Yield one chain in the order of its numbers, forks behind the version they fork.

        A span of sealed times means the stretch of numbers from the first to the last in it: a
        clock that was set back within makes no hole.
        """
        prefix = chain_key(host_id, chain_id)
        ids = {"$gt": f"{prefix}/", "$lt": f"{prefix}0"}
        if span := _span(from_ns, to_ns):
            ends = await self._ends({"_id": ids, "s": span})
            if not ends:
                return
            ids = {"$gte": min(ends), "$lt": f"{max(ends)}0"}
        query: dict[str, Any] = {"_id": ids}
        async for document, body in self._with_bodies(self._merged(query, "_id")):
            yield Stored(
                document["n"],
                bytes(document["k"]),
                bytes(document["g"]),
                body,
                fork=FORK in document["f"],
                removed=body is None and any(mark.covers(marked(document)) for mark in removals),
            )

    async def _ends(self, query: dict[str, Any]) -> list[str]:
        """Return the lowest and the highest id of each day that match."""
        ends: list[str] = []
        for name in await self.days():
            for direction in (ASCENDING, DESCENDING):
                rows = self._database[name].find(query, {"_id": True}).sort("_id", direction)
                ends += [row["_id"] async for row in rows.limit(1)]
        return ends

    async def of_host(
        self, host_id: str, from_ns: int | None, to_ns: int | None
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield (header, body) of every batch of a host that overlaps a span of event time."""
        # The range of ids keeps the sorted walk within this host.
        query: dict[str, Any] = {"_id": {"$gt": f"{host_id}/", "$lt": f"{host_id}0"}}
        if from_ns is not None:
            query["t1"] = {"$gte": from_ns}
        if to_ns is not None:
            query["t0"] = {"$lte": to_ns}
        async for document, body in self._with_bodies(self._merged(query, "_id")):
            yield bytes(document["k"]), body or b""

    async def _with_bodies(
        self, documents: AsyncIterator[dict[str, Any]]
    ) -> AsyncIterator[tuple[dict[str, Any], bytes | None]]:
        """Yield documents with their bodies; None for one that is gone."""
        part: list[dict[str, Any]] = []
        async for document in documents:
            part.append(document)
            if len(part) == READ_AHEAD:
                for one in await self._joined(part):
                    yield one
                part = []
        for one in await self._joined(part):
            yield one

    async def joined(
        self, documents: Sequence[dict[str, Any]]
    ) -> list[tuple[dict[str, Any], bytes]]:
        """Return headers' documents with their bodies; b"" for one that is gone."""
        return [(document, body or b"") for document, body in await self._joined(documents)]

    async def _joined(
        self, documents: Sequence[dict[str, Any]]
    ) -> list[tuple[dict[str, Any], bytes | None]]:
        days: dict[str, list[str]] = {}
        for document in documents:
            name = bodies_of(collection_of(document["s"]))
            days.setdefault(name, []).append(document["_id"])
        found: dict[str, bytes] = {}
        for name, keys in days.items():
            async for row in self._database[name].find({"_id": {"$in": keys}}):
                found[row["_id"]] = bodies.frame_of(row)
        if gone := [row["_id"] for row in documents if row["_id"] not in found]:
            async for row in self._database[KEPT_BODIES].find({"_id": {"$in": gone}}):
                found[row["_id"]] = bodies.frame_of(row)
        return [(document, found.get(document["_id"])) for document in documents]

    async def _merged(self, query: dict[str, Any], key: str) -> AsyncIterator[dict[str, Any]]:
        """Merge all days by `key`: a clock that was set back puts numbers into another order."""
        cursors = [
            self._database[name]
            .find(query, {"x": False, "v": False, "m": False}, batch_size=READ_AHEAD)
            .sort(key, ASCENDING)
            for name in await self.days()
        ]
        try:
            heap: list[tuple[str, int, dict[str, Any]]] = []
            for place, cursor in enumerate(cursors):
                if (document := await anext(cursor, None)) is not None:
                    heap.append((document[key], place, document))
            heapq.heapify(heap)
            while heap:
                _, place, document = heap[0]
                yield document
                following = await anext(cursors[place], None)
                if following is None:
                    heapq.heappop(heap)
                else:
                    heapq.heapreplace(heap, (following[key], place, following))
        finally:
            for cursor in cursors:
                await cursor.close()


def _span(from_ns: int | None, to_ns: int | None) -> dict[str, int]:
    span: dict[str, int] = {}
    if from_ns is not None:
        span["$gte"] = from_ns
    if to_ns is not None:
        span["$lte"] = to_ns
    return span
