"""How far each chain of batches is learned."""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.mongo import Database, UpdateOne


def _key(host_id: str, chain_id: bytes) -> str:
    return f"{host_id}/{chain_id.hex()}"


class Chains:
    """One document a chain: everything up to `settled` is learned."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._chains = database["chains"]

    async def settled(self, host_id: str, chain_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """Return how far each chain is settled; 0 for one that is new."""
        keys = {_key(host_id, chain_id): chain_id for chain_id in chain_ids}
        settled = dict.fromkeys(chain_ids, 0)
        async for row in self._chains.find({"_id": {"$in": list(keys)}}):
            settled[keys[row["_id"]]] = row["settled"]
        return settled

    async def settle(self, numbers: Mapping[tuple[str, bytes], int]) -> None:
        """Note that chains, (host, chain) -> number, are settled through these. Idempotent."""
        updates = [
            UpdateOne({"_id": _key(*chain)}, {"$max": {"settled": number}}, upsert=True)
            for chain, number in numbers.items()
        ]
        if updates:
            await self._chains.bulk_write(updates, ordered=False)
