"""Batches: appended in groups, as they came; read back in the order of their chains.

A document: _id host/chain/number; h, c, n the same apart; t0, t1, s first and last event time and
sealed_time (wall ns); r when it came (wall ns); k header, g signature, b body; x terms, m counts a
minute and kind; e events; f flags.
"""

import heapq
from collections.abc import AsyncIterator, Sequence
from typing import Any

from chassis import clock
from chassis.mongo import ASCENDING, DESCENDING, Binary, BulkWriteError, Database, IndexModel
from delivery.checks import Checked
from services.store.domain.custody import Stored
from services.store.domain.places import PREFIX, batch_key, chain_key, collection_of, fork_key

DUPLICATE = 11000
INDEXES = [
    IndexModel([("h", ASCENDING), ("t1", DESCENDING)]),
    IndexModel([("x", ASCENDING), ("t1", DESCENDING)]),
    IndexModel([("t1", DESCENDING)]),
]


def _document(checked: Checked, received_ns: int) -> dict[str, Any]:
    header, batch = checked.header, checked.batch
    return {
        "_id": batch_key(*checked.key),
        "h": header.host_id,
        "c": header.chain_id.hex(),
        "n": header.batch_number,
        "t0": clock.from_timestamp(header.first_event_time),
        "t1": clock.from_timestamp(header.last_event_time),
        "s": clock.from_timestamp(header.sealed_time),
        "r": received_ns,
        "k": Binary(batch.header),
        "g": Binary(batch.signature),
        "b": Binary(batch.body),
        "x": list(batch.index.terms),
        "m": [[count.minute, count.kind, count.count] for count in batch.index.counts],
        "e": header.event_count,
        "f": list(checked.flags),
    }


class Batches:
    """All stored batches, one collection a UTC day."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database
        self._indexed: set[str] = set()

    async def append(self, group: Sequence[Checked]) -> dict[str, str]:
        """Insert a group; return what was not plainly new: batch key -> "again" or "fork".

        Raises:
            PyMongoError: nothing may be acknowledged; sending again is harmless.
        """
        received_ns = clock.wall_ns()
        days: dict[str, list[Checked]] = {}
        for checked in group:
            days.setdefault(
                collection_of(clock.from_timestamp(checked.header.sealed_time)), []
            ).append(checked)
        odd: dict[str, str] = {}
        for name, members in days.items():
            collection = await self._collection(name)
            documents = [_document(checked, received_ns) for checked in members]
            try:
                await collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                errors = error.details["writeErrors"]
                if any(e["code"] != DUPLICATE for e in errors) or error.details.get(
                    "writeConcernErrors"
                ):
                    raise
                duplicates = [members[e["index"]] for e in errors]
                odd |= await self._again(collection, duplicates, received_ns)
        return odd

    async def _again(
        self, collection: Any, duplicates: Sequence[Checked], received_ns: int
    ) -> dict[str, str]:
        """Tell resends from forks; keep forks beside the first version."""
        odd: dict[str, str] = {}
        for checked in duplicates:
            key = batch_key(*checked.key)
            first = await collection.find_one({"_id": key}, {"k": True})
            if first is not None and bytes(first["k"]) == checked.batch.header:
                odd[key] = "again"
                continue
            odd[key] = "fork"
            document = _document(checked, received_ns)
            document["_id"] = fork_key(key, checked.hash)
            document["f"].append("fork")
            await collection.update_one(
                {"_id": document["_id"]}, {"$setOnInsert": document}, upsert=True
            )
        return odd

    async def _collection(self, name: str) -> Any:
        collection = self._database[name]
        if name not in self._indexed:
            await collection.create_indexes(INDEXES)
            self._indexed.add(name)
        return collection

    async def days(self) -> list[str]:
        """Names of the collections there are, oldest first."""
        names = await self._database.list_collection_names(
            filter={"name": {"$regex": f"^{PREFIX}"}}
        )
        return sorted(names)

    async def header_of(self, host_id: str, chain_id: bytes, number: int) -> bytes | None:
        """Return the header's bytes of one batch, wherever it lies; None when it is not there."""
        key = batch_key(host_id, chain_id, number)
        for name in reversed(await self.days()):
            found = await self._database[name].find_one({"_id": key}, {"k": True})
            if found is not None:
                return bytes(found["k"])
        return None

    async def chain(
        self, host_id: str, chain_id: bytes, from_ns: int | None, to_ns: int | None
    ) -> AsyncIterator[Stored]:
        """Yield one chain in the order of its numbers, forks behind the version they fork."""
        prefix = chain_key(host_id, chain_id)
        query: dict[str, Any] = {"_id": {"$gt": f"{prefix}/", "$lt": f"{prefix}0"}}
        if span := _span(from_ns, to_ns):
            query["s"] = span
        async for document in self._merged(query, "_id"):
            yield Stored(
                document["n"],
                bytes(document["k"]),
                bytes(document["g"]),
                bytes(document["b"]),
                fork=str(document["_id"]).count("/") > 2,  # noqa: PLR2004  (host/chain/number)
            )

    async def of_host(
        self, host_id: str, from_ns: int | None, to_ns: int | None
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield (header, body) of every batch of a host that overlaps a span of event time."""
        query: dict[str, Any] = {"h": host_id}
        if from_ns is not None:
            query["t1"] = {"$gte": from_ns}
        if to_ns is not None:
            query["t0"] = {"$lte": to_ns}
        async for document in self._merged(query, "_id"):
            yield bytes(document["k"]), bytes(document["b"])

    async def _merged(self, query: dict[str, Any], key: str) -> AsyncIterator[dict[str, Any]]:
        """Merge all days by `key`: a clock that was set back puts numbers into another order."""
        cursors = [
            self._database[name].find(query, {"x": False, "m": False}).sort(key, ASCENDING)
            for name in await self.days()
        ]
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

    async def totals(self, host_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return host -> (batches, events) stored."""
        sums: dict[str, tuple[int, int]] = {}
        pipeline: list[dict[str, Any]] = [
            {"$match": {"h": {"$in": list(host_ids)}}},
            {"$group": {"_id": "$h", "batches": {"$sum": 1}, "events": {"$sum": "$e"}}},
        ]
        for name in await self.days():
            async for row in self._database[name].aggregate(pipeline):
                batches, events = sums.get(row["_id"], (0, 0))
                sums[row["_id"]] = (batches + row["batches"], events + row["events"])
        return sums


def _span(from_ns: int | None, to_ns: int | None) -> dict[str, int]:
    span: dict[str, int] = {}
    if from_ns is not None:
        span["$gte"] = from_ns
    if to_ns is not None:
        span["$lte"] = to_ns
    return span
