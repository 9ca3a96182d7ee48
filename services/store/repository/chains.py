"""Chains: how far each is settled, what its last batches hash to, what is odd about it.

A document: _id host/chain; h, c the same apart; first, last stored number; settled; recent hashes;
counted, batches, events: totals up to the number `counted`; flags; key that signs it; gone: numbers
up to here may be missing, headers too, because retention dropped a day they were on.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chassis.mongo import ASCENDING, Database, IndexModel, UpdateOne
from evidence.heads import Head
from services.store.domain.chain import Memory
from services.store.domain.places import chain_key

RECENT = 128
"""Hashes kept a chain: enough for every batch that may be under way."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one group of batches does to one chain."""

    host_id: str
    chain_id: bytes
    settled: int
    """Everything up to here is stored, rejected or dropped."""
    events: Mapping[int, int] = field(default_factory=dict)
    """Stored number -> events in it."""
    hashes: Mapping[int, bytes] = field(default_factory=dict)
    """Stored number -> hash, for those that were not known before."""
    flags: Sequence[str] = ()


class Chains:
    """One document a chain; updated once a group of batches."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._chains = database["chains"]

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._chains.create_indexes([IndexModel([("h", ASCENDING)])])

    async def settled(self, host_id: str, chain_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """Return how far each chain is settled; 0 for one that is new."""
        keys = {chain_key(host_id, chain): chain for chain in chain_ids}
        settled = dict.fromkeys(chain_ids, 0)
        async for row in self._chains.find({"_id": {"$in": list(keys)}}, {"settled": True}):
            settled[keys[row["_id"]]] = row.get("settled", 0)
        return settled

    async def begin(
        self, host_id: str, chain_ids: Sequence[bytes], signing_key: bytes | None
    ) -> None:
        """Make the documents of chains that are new; the key that was seen first stays."""
        if not chain_ids:
            return
        key = {} if signing_key is None else {"key": signing_key}
        await self._chains.bulk_write(
            [
                UpdateOne(
                    {"_id": chain_key(host_id, chain_id)},
                    {"$setOnInsert": {"h": host_id, "c": chain_id.hex(), **key}},
                    upsert=True,
                )
                for chain_id in chain_ids
            ],
            ordered=False,
        )

    async def note_dropped(self, highest: Mapping[str, int]) -> None:
        """Note that headers of chains (by key) are about to go, up to a number each."""
        changes = [
            UpdateOne({"_id": key}, {"$max": {"gone": number}}) for key, number in highest.items()
        ]
        if changes:
            await self._chains.bulk_write(changes, ordered=False)

    async def signing_key(self, host_id: str, chain: str) -> bytes:
        """Return the public key that signs a chain (hex); b"" when none is known."""
        row = await self._chains.find_one({"_id": f"{host_id}/{chain}"}, {"key": True})
        return bytes((row or {}).get("key") or b"")

    async def advance(self, progress: Sequence[Progress]) -> None:
        """Note what became of batches; harmless when it is noted again."""
        # In order: totals first. A crash before `settled` brings the batches again, and they are
        # not counted twice; a crash the other way round would never bring them.
        changes = [change for one in progress for change in (_totals(one), _state(one))]
        if changes:
            await self._chains.bulk_write(changes, ordered=True)

    async def memory(self, host_id: str, chain_id: bytes) -> Memory:
        """Return what decides about the next batches of a chain."""
        row = await self._chains.find_one(
            {"_id": chain_key(host_id, chain_id)}, {"recent": True, "settled": True, "last": True}
        )
        row = row or {}
        return Memory(
            {entry["n"]: bytes(entry["hash"]) for entry in row.get("recent", ())},
            max(row.get("settled", 0), row.get("last", 0)),
        )

    async def heads(self) -> AsyncIterator[Head]:
        """Yield the last batch of every chain, as it was when it was stored."""
        at = {"$indexOfArray": ["$recent.n", "$last"]}
        steps: list[dict[str, Any]] = [
            {"$match": {"last": {"$gt": 0}, "recent": {"$exists": True}}},
            {"$project": {"h": 1, "c": 1, "last": 1, "recent": 1, "at": at}},
            {"$match": {"at": {"$gte": 0}}},
            {
                "$project": {
                    "h": 1,
                    "c": 1,
                    "last": 1,
                    "hash": {"$arrayElemAt": ["$recent.hash", "$at"]},
                }
            },
        ]
        async for row in self._chains.aggregate(steps):
            yield Head(row["h"], row["c"], row["last"], bytes(row["hash"]).hex())

    async def of_hosts(self, host_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return host -> its chains' documents, without hashes."""
        chains: dict[str, list[dict[str, Any]]] = {}
        query = {"h": {"$in": list(host_ids)}}
        async for row in self._chains.find(query, {"recent": False}).sort("_id", ASCENDING):
            chains.setdefault(row["h"], []).append(row)
        return chains


def _totals(progress: Progress) -> UpdateOne:
    """Add what lies above `counted`: numbers come in order, so a resend adds nothing."""
    counted = {"$ifNull": ["$counted", 0]}

    def above(amounts: Mapping[int, int]) -> list[dict[str, Any]]:
        return [
            {"$cond": [{"$gt": [number, counted]}, amount, 0]} for number, amount in amounts.items()
        ]

    batches = above(dict.fromkeys(progress.events, 1))
    return UpdateOne(
        {"_id": chain_key(progress.host_id, progress.chain_id)},
        [
            {
                "$set": {
                    "h": {"$literal": progress.host_id},
                    "c": progress.chain_id.hex(),
                    "batches": {"$add": [{"$ifNull": ["$batches", 0]}, *batches]},
                    "events": {"$add": [{"$ifNull": ["$events", 0]}, *above(progress.events)]},
                    "counted": {"$max": [counted, *progress.events]},
                }
            }
        ],
        upsert=True,
    )


def _state(progress: Progress) -> UpdateOne:
    highest = {"settled": progress.settled}
    update: dict[str, Any] = {"$max": highest}
    if progress.events:
        highest["last"] = max(progress.events)
        update["$min"] = {"first": min(progress.events)}
    if progress.hashes:
        entries = [{"n": n, "hash": h} for n, h in sorted(progress.hashes.items())]
        update["$push"] = {"recent": {"$each": entries, "$sort": {"n": 1}, "$slice": -RECENT}}
    if progress.flags:
        update["$addToSet"] = {"flags": {"$each": list(progress.flags)}}
    return UpdateOne({"_id": chain_key(progress.host_id, progress.chain_id)}, update, upsert=True)
