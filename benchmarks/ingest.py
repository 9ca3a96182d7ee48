"""How fast the store takes events, against raw inserts of the same; what they take on disk."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, WriteConcern

from agent.stages.seal import Body
from benchmarks import sealed
from benchmarks.backend import DATABASE, Backend, disk_bytes
from benchmarks.results import Result
from benchmarks.senders import Sender, request_of
from chassis import clock
from delivery.checks import Limits, check
from evidence import rows
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from services.store.repository.conditions import INDEXES
from services.store.repository.headers import document_of

_STREAMS = 16
_FULL, _QUIET = 500, 5
_ANCESTORS = 4
"""As many as the documents of the figure had that the target comes from (708 B of BSON each)."""
_RAW_CHUNK, _RAW_GROUP, _RAW_CONNECTIONS = 1000, 8, 2
_DURABLE = WriteConcern(w=1, j=True)
_THREE_INDEXES = (
    [("hostID", ASCENDING), ("time", DESCENDING)],
    [("kind", ASCENDING), ("time", DESCENDING)],
    [("service", ASCENDING), ("time", DESCENDING)],
)


def run(*, quick: bool) -> Iterator[Result]:
    """Measure ingest and disk; yield results as they are found."""
    rounds, each = (1, 30) if quick else (3, 100)
    bodies = sealed.bodies(_STREAMS * 4, _FULL)
    with Backend() as backend:
        rates: dict[str, list[float]] = {"store": [], "documents": [], "batches": [], "groups": []}
        documents = _documents(bodies, 2 if quick else 4)
        for number in range(rounds):
            raw = backend.client[f"raw_{number}"]
            rates["documents"].append(_raw_documents(raw, documents))
            rates["store"].append(_store(backend, bodies, each, f"r{number}"))
            rates["batches"].append(_raw_batches(raw, bodies, each, f"w{number}", 1))
            rates["groups"].append(_raw_batches(raw, bodies, each, f"g{number}", _RAW_GROUP))
        median = {name: statistics.median(values) for name, values in rates.items()}
        yield Result("store.ingest.events_per_s", median["store"], "events/s")
        for name in ("documents", "batches", "groups"):
            yield Result(f"raw.{name}.events_per_s", median[name], "events/s")
        yield _ratio("documents", median["store"], median["documents"], 8)
        # One batch a request, as the figure was measured that the target comes from.
        yield _ratio("raw_batches", median["store"], median["batches"], 0.8)
        yield _ratio("raw_groups", median["store"], median["groups"], None)
        yield from _disk(backend, 200 if quick else 2000)


def _ratio(name: str, value: float, baseline: float, target: float | None) -> Result:
    return Result(f"store.ingest.ratio_to_{name}", value / baseline, "x", target)


def _store(backend: Backend, bodies: Sequence[Body], each: int, name: str) -> float:
    """Send `each` full batches on every stream; return acknowledged events a second."""
    chains = [sealed.Chain(f"{name}-{place}") for place in range(_STREAMS)]
    ready = [
        (
            chain,
            [request_of(b) for b in sealed.batches(chain, tuple(bodies[place::_STREAMS]), each)],
        )
        for place, chain in enumerate(chains)
    ]

    async def send() -> float:
        senders = [
            Sender(
                backend.address,
                backend.host(chain.host_id, chain.public_key),
                chain.host_id,
                chain.chain_id,
            )
            for chain in chains
        ]
        for sender in senders:
            await sender.__aenter__()
        began = time.monotonic()
        await asyncio.gather(
            *(
                sender.send_all(batches, 1)
                for sender, (_, batches) in zip(senders, ready, strict=True)
            )
        )
        took = time.monotonic() - began
        for sender in senders:
            await sender.__aexit__()
        return took

    return _STREAMS * each * bodies[0].event_count / backend.run(send())


def _documents(bodies: Sequence[Body], copies: int) -> list[RawBSONDocument]:
    """Return each event as a flat document, as one would keep it without us: an exported row.

    Its id is the event's, so that a resend is no second event here either.
    """
    found = []
    for place, body in enumerate(tuple(bodies) * copies):
        batch = events.EventBatch.FromString(body.raw)
        header = delivery.BatchHeader(host_id=f"host-{place % _STREAMS}", herd="default")
        opened = rows.Batch(f"{header.host_id}/{place}", header, "", batch)
        for number, row in enumerate(rows.rows(opened, range(len(batch.events)))):
            row["ancestors"] = row["ancestors"][:_ANCESTORS]
            row["time"] = clock.from_timestamp(batch.events[number].event_time)
            found.append(RawBSONDocument(encode({"_id": row.pop("id"), **row})))
    return found


def _raw_documents(raw: Any, documents: Sequence[RawBSONDocument]) -> float:
    collection = raw.get_collection("events", write_concern=_DURABLE)
    for index in _THREE_INDEXES:
        collection.create_index(index)
    chunks = [documents[at : at + _RAW_CHUNK] for at in range(0, len(documents), _RAW_CHUNK)]
    took = _in_parallel(lambda chunk: collection.insert_many(chunk, ordered=False), chunks)
    return len(documents) / took


def _raw_batches(raw: Any, bodies: Sequence[Body], each: int, name: str, size: int) -> float:
    """Insert the documents that the store would make, finished beforehand, `size` at once."""
    groups: list[tuple[list[RawBSONDocument], list[RawBSONDocument]]] = []
    for place in range(_STREAMS):
        chain = sealed.Chain(f"{name}-{place}")
        own = list(sealed.batches(chain, tuple(bodies[place::_STREAMS]), each))
        groups += [_finished(chain, own[at : at + size]) for at in range(0, each, size)]
    headers = raw.get_collection("batches", write_concern=_DURABLE)
    contents = raw.get_collection("bodies", write_concern=_DURABLE)
    headers.create_indexes(list(INDEXES.values()))

    def insert(group: tuple[list[RawBSONDocument], list[RawBSONDocument]]) -> None:
        contents.insert_many(group[1], ordered=False)
        headers.insert_many(group[0], ordered=False)

    return _STREAMS * each * _FULL / _in_parallel(insert, groups)


def _finished(
    chain: sealed.Chain, some: Sequence[delivery.SealedBatch]
) -> tuple[list[RawBSONDocument], list[RawBSONDocument]]:
    from chassis.tls import Peer  # noqa: PLC0415

    peer = Peer("host", chain.host_id, "default", chain.public_key)
    headers, contents = [], []
    for batch in some:
        header = document_of(check(batch, peer, Limits(), decode=False), clock.wall_ns())
        headers.append(RawBSONDocument(encode(header)))
        contents.append(RawBSONDocument(encode({"_id": header["_id"], "b": batch.body})))
    return headers, contents


def _in_parallel(insert: Callable[[Any], None], work: Sequence[Any]) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(_RAW_CONNECTIONS) as threads:
        list(threads.map(insert, work))
    return time.monotonic() - began


def _disk(backend: Backend, quiet: int) -> Iterator[Result]:
    raw = backend.client["raw_0"]
    per_document = disk_bytes(raw, ("events",)) / raw["events"].estimated_document_count()
    database = backend.client[DATABASE]
    stored = disk_bytes(database, ("batches_", "bodies_"))
    per_event = stored / backend.event_count()
    yield Result("store.disk.bytes_per_event", per_event, "B", 150)
    yield Result("raw.documents.bytes_per_event", per_document, "B")
    yield Result("store.disk.ratio_to_documents", per_event / per_document, "", 0.4)
    before = disk_bytes(database, ("batches_", "bodies_"))
    some = sealed.bodies(_STREAMS * quiet, _QUIET)  # none twice: pages are packed as a whole
    _store(backend, some, quiet, "quiet")
    taken = disk_bytes(database, ("batches_", "bodies_")) - before
    yield Result("store.disk.quiet_bytes_per_event", taken / (_STREAMS * quiet * _QUIET), "B", 300)
