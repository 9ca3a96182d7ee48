"""Hosts: when they were heard of, what they say they are, and what is known to be missing."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from chassis import clock
from chassis.mongo import ASCENDING, DESCENDING, Binary, Database, IndexModel, UpdateOne
from chassis.text import show
from nightherd.event.v1 import event_pb2 as events

MOST_HOLES = 10_000
"""Stretches of missing batches that are read of one host."""
Said = tuple[int, bytes] | None
"""(event time, serialised message); None: nothing was said."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a group of batches says about one host."""

    host_id: str
    herd: str
    origin: int
    last_event_ns: int
    skew_ms: int | None
    """The host's clock minus ours; None for imported batches."""
    facts: Said
    """HostFacts, the latest."""
    status: Said
    """AgentStatus, the latest."""

    def then(self, later: "Heard") -> "Heard":
        """Return what both say together: what came later stands, of what has a time the latest."""
        return replace(
            later,
            last_event_ns=max(self.last_event_ns, later.last_event_ns),
            skew_ms=self.skew_ms if later.skew_ms is None else later.skew_ms,
            facts=_later(self.facts, later.facts),
            status=_later(self.status, later.status),
        )


def _later(one: Said, other: Said) -> Said:
    return max((said for said in (one, other) if said), key=itemgetter(0), default=None)


@dataclass(frozen=True, slots=True)
class FoundGap:
    """A gap in a batch (or one the store itself knows of), with an id that follows from it."""

    gap_id: str
    host_id: str
    gap: events.Gap


def _batches(gap: events.Gap) -> dict[str, Any]:
    """Return the first number of a gap of whole batches, by which it is looked for."""
    return {"b": gap.first_batch} if 0 < gap.first_batch <= gap.last_batch else {}


def _latest(name: str, value: tuple[int, bytes]) -> dict[str, Any]:
    """Pipeline fields that keep the value with the latest time, whatever comes first."""
    time, content = value
    newer = {"$gt": [time, {"$ifNull": [f"${name}_t", -1]}]}
    return {
        name: {"$cond": [newer, {"$literal": Binary(content)}, f"${name}"]},
        f"{name}_t": {"$max": [time, f"${name}_t"]},
    }


def _heard(heard: Heard, now: dt.datetime) -> UpdateOne:
    fields: dict[str, Any] = {
        "herd": {"$literal": heard.herd},
        "origin": heard.origin,
        "first_seen": {"$ifNull": ["$first_seen", now]},
        "last_seen": {"$max": ["$last_seen", now]},
        "last_event": {"$max": ["$last_event", heard.last_event_ns]},
    }
    if heard.skew_ms is not None:
        fields["skew_ms"] = heard.skew_ms
    if heard.facts is not None:
        facts = events.HostFacts.FromString(heard.facts[1])
        fields |= _latest("facts", heard.facts)
        newer = {"$gt": [heard.facts[0], {"$ifNull": ["$facts_t", -1]}]}
        for name, value in {
            "name": facts.hostname,
            "lower_name": show(facts.hostname).lower(),
            "cluster": facts.cluster,
            "account": facts.cloud_account,
        }.items():
            fields[name] = {"$cond": [newer, {"$literal": value}, f"${name}"]}
    if heard.status is not None:
        fields |= _latest("status", heard.status)
    return UpdateOne({"_id": heard.host_id}, [{"$set": fields}], upsert=True)


class Hosts:
    """One document a host, one a gap."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._hosts, self._gaps = database["hosts"], database["gaps"]

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._hosts.create_indexes(
            [IndexModel([("lower_name", ASCENDING)]), IndexModel([("herd", ASCENDING)])]
        )
        await self._gaps.create_indexes(
            [
                IndexModel([("h", ASCENDING), ("t1", DESCENDING)]),
                IndexModel([("t1", DESCENDING)]),
                IndexModel([("t0", ASCENDING), ("_id", ASCENDING)]),
                IndexModel(
                    [("h", ASCENDING), ("b", ASCENDING)],
                    partialFilterExpression={"b": {"$exists": True}},
                ),
            ]
        )

    async def update(self, heard: Sequence[Heard], gaps: Sequence[FoundGap]) -> None:
        """Note what was heard; harmless when it is said again or in another order."""
        now = dt.datetime.now(dt.UTC)
        if heard:
            await self._hosts.bulk_write([_heard(one, now) for one in heard], ordered=False)
        if gaps:
            await self._gaps.bulk_write(
                [
                    UpdateOne(
                        {"_id": found.gap_id},
                        {
                            "$setOnInsert": {
                                "h": found.host_id,
                                "t0": clock.from_timestamp(found.gap.start_time),
                                "t1": clock.from_timestamp(found.gap.end_time),
                                "gap": Binary(found.gap.SerializeToString()),
                                **_batches(found.gap),
                            }
                        },
                        upsert=True,
                    )
                    for found in gaps
                ],
                ordered=False,
            )

    async def say_removed(self, gaps: Sequence[FoundGap]) -> None:
        """Note gaps of what was removed; said again, the latest stands: more may have gone."""
        changes = [
            UpdateOne(
                {"_id": found.gap_id},
                {
                    "$set": {
                        "h": found.host_id,
                        "t0": clock.from_timestamp(found.gap.start_time),
                        "t1": clock.from_timestamp(found.gap.end_time),
                        "gap": Binary(found.gap.SerializeToString()),
                    }
                },
                upsert=True,
            )
            for found in gaps
        ]
        if changes:
            await self._gaps.bulk_write(changes, ordered=False)

    async def alive(self, host_id: str, herd: str) -> None:
        """Note that the host's agent has a stream open."""
        now = dt.datetime.now(dt.UTC)
        await self._hosts.update_one(
            {"_id": host_id},
            {
                "$max": {"last_seen": now, "connected": now},
                "$setOnInsert": {"herd": herd, "first_seen": now},
            },
            upsert=True,
        )

    async def ids_of(self, names: Sequence[str]) -> list[str]:
        """Return what may be the id of a host meant by `names`: names or ids, known or not."""
        lower = [show(name).lower() for name in names]  # that is what has an index
        query = {"lower_name": {"$in": lower}, "name": {"$in": list(names)}}
        rows = self._hosts.find(query, {"_id": True})
        return [*names, *[row["_id"] async for row in rows]]

    async def ids_in(self, field: str, values: Sequence[str]) -> list[str]:
        """Return the ids of hosts whose `field` ("cluster" or "account") is one of `values`."""
        query = {field: {"$in": list(values)}}
        return [row["_id"] async for row in self._hosts.find(query, {"_id": True})]

    async def known(self, host_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return host id -> its document."""
        rows = self._hosts.find({"_id": {"$in": list(host_ids)}})
        return {row["_id"]: row async for row in rows}

    async def page(
        self, query: dict[str, Any], offset: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return hosts sorted by name and id, and how many match."""
        rows = self._hosts.find(query).sort([("lower_name", 1), ("_id", 1)])
        page = await rows.skip(offset).limit(limit).to_list(None)
        return page, await self._hosts.count_documents(query)

    async def gaps(
        self, query: dict[str, Any], offset: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return gaps newest first, and how many match."""
        rows = self._gaps.find(query).sort([("t1", -1), ("_id", 1)])
        page = await rows.skip(offset).limit(limit).to_list(None)
        return page, await self._gaps.count_documents(query)

    async def holes(self, host_id: str) -> list[tuple[str, events.Gap]]:
        """Return (id, gap) of what a host said about whole batches that are missing."""
        said = self._gaps.find({"h": host_id, "b": {"$exists": True}}, {"gap": True})
        return [
            (row["_id"], events.Gap.FromString(row["gap"]))
            for row in await said.sort("b", ASCENDING).to_list(MOST_HOLES)
        ]

    async def gaps_in_order(
        self, query: dict[str, Any], sort: list[tuple[str, int]], limit: int
    ) -> list[dict[str, Any]]:
        """Return the first gaps that match, in an order."""
        found: list[dict[str, Any]] = await self._gaps.find(query).sort(sort).to_list(limit)
        return found

    async def gap_counts(self, host_ids: Sequence[str]) -> dict[str, int]:
        """Return host -> how many gaps are known."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"h": {"$in": list(host_ids)}}},
            {"$group": {"_id": "$h", "count": {"$sum": 1}}},
        ]
        return {row["_id"]: row["count"] async for row in self._gaps.aggregate(pipeline)}
