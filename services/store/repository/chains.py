"""Chains: how far each is settled, what its last batches hash to, what is odd about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.mongo import ASCENDING, Database, IndexModel, UpdateOne
from services.store.domain.places import chain_key

RECENT = 128
"""Hashes kept a chain: enough for every batch that may be under way."""


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

    async def update(self, changes: Sequence[UpdateOne]) -> None:
        """Write what `change` made."""
        if changes:
            await self._chains.bulk_write(list(changes), ordered=True)

    @staticmethod
    def change(
        host_id: str,
        chain_id: bytes,
        *,
        numbers: Sequence[int] = (),
        settled: int = 0,
        hashes: Mapping[int, bytes] | None = None,
        flags: Sequence[str] = (),
        signing_key: bytes | None = None,
    ) -> UpdateOne:
        """Return an idempotent update of one chain's document.

        `numbers` were stored, everything through `settled` is settled.
        """
        first_seen: dict[str, Any] = {"h": host_id, "c": chain_id.hex()}
        if signing_key is not None:
            # The key that was seen first stays: custody is checked against it.
            first_seen["key"] = signing_key
        update: dict[str, Any] = {"$setOnInsert": first_seen}
        if settled:
            update["$max"] = {"settled": settled}
        if numbers:
            update.setdefault("$max", {})["last"] = max(numbers)
            update["$min"] = {"first": min(numbers)}
        if hashes:
            update["$push"] = {
                "recent": {
                    "$each": [{"n": n, "hash": h} for n, h in sorted(hashes.items())],
                    "$sort": {"n": 1},
                    "$slice": -RECENT,
                }
            }
        if flags:
            update["$addToSet"] = {"flags": {"$each": list(flags)}}
        return UpdateOne({"_id": chain_key(host_id, chain_id)}, update, upsert=True)

    async def recent(self, host_id: str, chain_id: bytes) -> dict[int, bytes]:
        """Return number -> hash of the last batches of a chain."""
        row = await self._chains.find_one({"_id": chain_key(host_id, chain_id)}, {"recent": True})
        return {e["n"]: bytes(e["hash"]) for e in (row or {}).get("recent", ())}

    async def of_hosts(self, host_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return host -> its chains' documents, without hashes."""
        chains: dict[str, list[dict[str, Any]]] = {}
        query = {"h": {"$in": list(host_ids)}}
        async for row in self._chains.find(query, {"recent": False}).sort("_id", ASCENDING):
            chains.setdefault(row["h"], []).append(row)
        return chains
