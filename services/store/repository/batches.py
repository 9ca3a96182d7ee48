"""Batches: appended in groups, as they came; read back in the order of their chains.

A document: _id host/chain/number; h, c, n the same apart; d herd; t0, t1, s first and last event
time and sealed_time (wall ns); w set when it spans long; r when it came (wall ns); k header, g
signature; x terms, xv their version, xc whether they were cut, v events for each of them by letter
(see `counts`), m counts a minute and kind; e events; f flags; z bytes of
the body as stored, 0 when it was removed alone (days that are dropped keep theirs).

Bodies lie apart, in a collection of the same day (see `bodies`). Questions about times, terms and
counts read no body, and headers outlive bodies. What incidents keep lies in kept_bodies.
"""

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import structlog

from chassis import clock
from chassis.mongo import ASCENDING, DESCENDING, BulkWriteError, Database, OperationFailure
from delivery.checks import Checked
from evidence.removals import Batch, Removal
from nightherd.event.v1 import delivery_pb2 as delivery
from services.store.domain.chain import Place
from services.store.domain.custody import Stored
from services.store.domain.places import (
    KEPT_BODIES,
    PREFIX,
    batch_key,
    bodies_of,
    chain_key,
    collection_of,
    fork_key,
)
from services.store.repository import bodies
from services.store.repository.conditions import INDEXES, WIDE_NS
from services.store.repository.counts import values_of
from services.store.repository.days import Day, Days
from services.store.repository.sharding import BY_HOST, BY_ID, Sharding

log = structlog.get_logger()
DUPLICATE, EXISTS = 11000, 48
WELL_PACKED = {"wiredTiger": {"configString": "block_compressor=zstd"}}
"""Headers of quiet hosts take a third less than with snappy, for 3 µs of MongoDB's time each."""
NEW, AGAIN, FORK = "new", "again", "fork"
READ_AHEAD = 8
"""Batches read at once from each day: what a long walk holds in memory."""


def index_fields(index: delivery.Index) -> dict[str, Any]:
    """Return what of a batch's document follows from its index."""
    return {
        "x": list(index.terms),
        "xv": index.version,
        "xc": index.terms_cut,
        "v": values_of(index.terms, index.term_counts),
        "m": [[count.minute, count.kind, count.count] for count in index.counts],
    }


def document_of(checked: Checked, received_ns: int) -> dict[str, Any]:
    """Return the document of a batch, its body apart."""
    header, batch = checked.header, checked.batch
    first = clock.from_timestamp(header.first_event_time)
    last = clock.from_timestamp(header.last_event_time)
    document: dict[str, Any] = {
        "_id": batch_key(*checked.key),
        "h": header.host_id,
        "c": header.chain_id.hex(),
        "n": header.batch_number,
        "d": header.herd,
        "t0": first,
        "t1": last,
        "s": clock.from_timestamp(header.sealed_time),
        "r": received_ns,
        "k": batch.header,
        "g": batch.signature,
        **index_fields(batch.index),
        "e": header.event_count,
        "f": list(checked.flags),
        "z": len(batch.body),
    }
    if last - first > WIDE_NS:
        document["w"] = True
    return document


def _bounds(name: str, documents: Sequence[Mapping[str, Any]]) -> Day:
    return Day(
        name,
        min(document["t0"] for document in documents),
        max(document["t1"] for document in documents),
        any(document["xc"] for document in documents),
        any("w" in document for document in documents),
    )


class Batches:
    """All stored batches, one collection a UTC day."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database
        self._indexed: set[str] = set()
        self._sharding = Sharding(database)
        self.bounds = Days(database)

    async def append(self, group: Sequence[Place]) -> list[str]:
        """Insert a group; return for each batch NEW, AGAIN or FORK.

        Raises:
            PyMongoError: nothing may be acknowledged; sending again is harmless.
        """
        received_ns = clock.wall_ns()
        outcomes = await self._known(group)
        days: dict[str, list[int]] = {}
        for place, outcome in enumerate(outcomes):
            if outcome == NEW:
                days.setdefault(_day(group[place].checked), []).append(place)
        for name, places in days.items():
            collection = await self._collection(name)
            documents = [document_of(group[place].checked, received_ns) for place in places]
            await self.bounds.widen([_bounds(name, documents)])
            # Bodies first: where a header is, its body was. One without a header is no harm.
            await self._keep_bodies(
                name,
                [
                    bodies.document_of(document["_id"], group[place].checked)
                    for document, place in zip(documents, places, strict=True)
                ],
            )
            try:
                await collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                errors = error.details["writeErrors"]
                if any(e["code"] != DUPLICATE for e in errors) or error.details.get(
                    "writeConcernErrors"
                ):
                    raise
                keys = [documents[e["index"]]["_id"] for e in errors]
                there = await _headers(collection, keys)
                for error_ in errors:
                    place = places[error_["index"]]
                    outcomes[place] = _compared(there, group[place].checked)
        for place, outcome in enumerate(outcomes):
            if outcome == FORK:
                await self._keep_fork(group[place].checked, received_ns)
        return outcomes

    async def _known(self, group: Sequence[Place]) -> list[str]:
        """Tell resends and forks of what was stored on another day, or long ago."""
        asked = [
            batch_key(*one.checked.key)
            for one in group
            if one.hash_there is None and one.may_be_there
        ]
        there: dict[str, bytes] = {}
        if asked:
            for name in reversed(await self.days()):
                there |= await _headers(self._database[name], asked)
                if len(there) == len(set(asked)):
                    break
        outcomes = []
        for one in group:
            if one.hash_there is not None:
                outcomes.append(AGAIN if one.hash_there == one.checked.hash else FORK)
            elif batch_key(*one.checked.key) in there:
                outcomes.append(_compared(there, one.checked))
            else:
                outcomes.append(NEW)
        return outcomes

    async def _keep_bodies(self, name: str, documents: Sequence[dict[str, Any]]) -> None:
        try:
            await self._database[bodies_of(name)].insert_many(documents, ordered=False)
        except BulkWriteError as error:
            if any(
                e["code"] != DUPLICATE for e in error.details["writeErrors"]
            ) or error.details.get("writeConcernErrors"):
                raise

    async def _keep_fork(self, checked: Checked, received_ns: int) -> None:
        document = document_of(checked, received_ns)
        document["_id"] = fork_key(document["_id"], checked.hash)
        document["f"].append(FORK)
        name = _day(checked)
        collection = await self._collection(name)
        await self.bounds.widen([_bounds(name, [document])])
        # The host as well: it is what a cluster spreads batches by.
        key = {"_id": document.pop("_id"), "h": document.pop("h")}
        await self._keep_bodies(name, [bodies.document_of(key["_id"], checked)])
        await collection.update_one(key, {"$setOnInsert": document}, upsert=True)

    async def _collection(self, name: str) -> Any:
        collection = self._database[name]
        if name not in self._indexed:
            await self._make(name)
            await self._make(bodies_of(name))
            await self._sharding.spread(name, BY_HOST)
            await self._sharding.spread(bodies_of(name), BY_ID)
            await collection.create_indexes(list(INDEXES.values()))
            self._indexed.add(name)
        return collection

    async def _make(self, name: str) -> None:
        """Create a collection whose pages are packed well; one that is there stays as it is."""
        try:
            await self._database.create_collection(
                name, check_exists=False, storageEngine=WELL_PACKED
            )
        except OperationFailure as error:
            if error.code != EXISTS:  # another storage engine: MongoDB packs as it does
                log.warning("collection is made with default options", why=str(error)[:200])

    async def days(self) -> list[str]:
        """Names of the collections there are, oldest first."""
        names = await self._database.list_collection_names(
            filter={"name": {"$regex": f"^{PREFIX}"}}
        )
        return sorted(names)

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


async def _headers(collection: Any, keys: Sequence[str]) -> dict[str, bytes]:
    """Return key -> header's bytes, for those that are there."""
    rows = collection.find({"_id": {"$in": list(keys)}}, {"k": True})
    return {row["_id"]: bytes(row["k"]) async for row in rows}


def marked(document: Mapping[str, Any]) -> Batch:
    """Return what marks of removals go by."""
    return Batch(
        document["h"],
        collection_of(document["s"]),
        document["s"],
        document["t0"],
        document["t1"],
        document["r"],
    )


def _compared(there: Mapping[str, bytes], checked: Checked) -> str:
    same = there.get(batch_key(*checked.key)) == checked.batch.header
    return AGAIN if same else FORK


def _day(checked: Checked) -> str:
    return collection_of(clock.from_timestamp(checked.header.sealed_time))


def _span(from_ns: int | None, to_ns: int | None) -> dict[str, int]:
    span: dict[str, int] = {}
    if from_ns is not None:
        span["$gte"] = from_ns
    if to_ns is not None:
        span["$lte"] = to_ns
    return span
