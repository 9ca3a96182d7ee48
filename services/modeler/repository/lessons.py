"""Behaviours, and where services were seen: merged into MongoDB so that order does not matter.

behaviours: _id; m model; f facet; s subject; u, d, h smallest units, spans, hosts; l last unit.
sights: _id host and model; m model; herd, service, host; first, last in seconds, cut to the grain.
spans: _id model and span; m model; d span number: the service was active in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from behaviour.behaviours import Behaviour
from chassis.mongo import ASCENDING, BulkWriteError, Collection, Database, IndexModel, UpdateOne
from nightherd.modeler.v1 import model_pb2 as pb
from services.modeler.domain.evidence import KEPT, Evidence
from services.modeler.domain.learning import Learned, Lesson, Sight
from services.modeler.repository.names import SEPARATOR, behaviour_id, model_id

DUPLICATE = 11000
MOST_BEHAVIOURS, MOST_BYTES = 20_000, 2 << 20
"""Most of a model's acts, and of its writes, that are read: it fits a document and a message."""
Known = tuple[Behaviour, Evidence]


def _smallest(field: str, items: Iterable[Any]) -> dict[str, Any]:
    """Pipeline expression: the smallest of what is there and `items`, whatever comes first."""
    union = {"$setUnion": [{"$ifNull": [f"${field}", []]}, {"$literal": list(items)}]}
    return {"$slice": [{"$sortArray": {"input": union, "sortBy": 1}}, KEPT]}


def _behaviour(learned: Learned, evidence: Evidence) -> UpdateOne:
    fields = {
        "m": {"$literal": model_id(learned.herd, learned.service)},
        "f": {"$literal": int(learned.facet)},
        "s": {"$literal": learned.subject},
        "u": _smallest("u", evidence.units),
        "d": _smallest("d", evidence.spans),
        "h": _smallest("h", evidence.hosts),
        "l": {"$max": ["$l", evidence.last_unit]},
    }
    return UpdateOne({"_id": behaviour_id(learned)}, [{"$set": fields}], upsert=True)


def _sight(sight: Sight, first: int, last: int) -> UpdateOne:
    key = model_id(sight.herd, sight.service)
    return UpdateOne(
        {"_id": f"{sight.host_id}{SEPARATOR}{key}"},
        {
            "$setOnInsert": {
                "m": key,
                "herd": sight.herd,
                "service": sight.service,
                "host": sight.host_id,
            },
            "$min": {"first": first},
            "$max": {"last": last},
        },
        upsert=True,
    )


def _span(herd: str, service: str, span: int) -> UpdateOne:
    key = model_id(herd, service)
    return UpdateOne(
        {"_id": f"{key}{SEPARATOR}{span}"}, {"$setOnInsert": {"m": key, "d": span}}, upsert=True
    )


class Lessons:
    """All that was learned."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._behaviours = database["behaviours"]
        self._sights, self._spans = database["sights"], database["spans"]

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._behaviours.create_indexes(
            [IndexModel([("m", ASCENDING), ("f", ASCENDING), ("s", ASCENDING)])]
        )
        await self._sights.create_indexes([IndexModel([("m", ASCENDING)])])
        await self._spans.create_indexes([IndexModel([("m", ASCENDING), ("d", ASCENDING)])])

    async def learn(self, lesson: Lesson) -> None:
        """Merge a lesson into what is known; returns when it is in the journal. Idempotent.

        Raises:
            PyMongoError: a part may be written; learning it again is harmless.
        """
        await _write(self._spans, [_span(*span) for span in sorted(lesson.spans)])
        await _write(self._sights, [_sight(s, *seen) for s, seen in lesson.sights.items()])
        await _write(self._behaviours, [_behaviour(*item) for item in lesson.behaviours.items()])

    async def behaviours(self, herd: str, service: str) -> list[Known]:
        """Return the behaviours of one model, acts first, with their evidence."""
        key = model_id(herd, service)
        found: list[Known] = []
        for facets in ({"$ne": int(pb.FACET_WRITES)}, int(pb.FACET_WRITES)):
            cursor = self._behaviours.find({"m": key, "f": facets}).sort("s", ASCENDING)
            size = 0
            async for row in cursor.limit(MOST_BEHAVIOURS):
                size += len(row["s"].encode())
                if size > MOST_BYTES:
                    break
                found.append(_known(row))
        return found

    async def counts(self, models: Sequence[tuple[str, str]]) -> list[int]:
        """Return for each (herd, service) how many behaviours it has."""
        keys = [model_id(*model) for model in models]
        pipeline: list[dict[str, Any]] = [
            {"$match": {"m": {"$in": keys}}},
            {"$group": {"_id": "$m", "count": {"$sum": 1}}},
        ]
        found = {row["_id"]: row["count"] async for row in self._behaviours.aggregate(pipeline)}
        return [found.get(key, 0) for key in keys]

    async def spans(self, herd: str, service: str) -> list[int]:
        """Return the spans in which a service was active, ascending."""
        cursor = self._spans.find({"m": model_id(herd, service)}, {"d": True}).sort("d", ASCENDING)
        return [row["d"] async for row in cursor]


def _known(row: Mapping[str, Any]) -> Known:
    behaviour = Behaviour(row["f"], row["s"])
    return behaviour, Evidence(tuple(row["u"]), tuple(row["d"]), tuple(row["h"]), row["l"])


async def _write(collection: "Collection[Any]", updates: list[UpdateOne]) -> None:
    """Send updates that may be repeated; two replicas that insert the same at once are no error."""
    if not updates:
        return
    try:
        await collection.bulk_write(updates, ordered=False)
    except BulkWriteError as error:
        if any(fault["code"] != DUPLICATE for fault in error.details["writeErrors"]):
            raise
        await collection.bulk_write(updates, ordered=False)
