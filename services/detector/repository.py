"""What the detector asks of MongoDB: how far chains are settled, names of hosts, policies."""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.mongo import Database, UpdateOne

Chain = tuple[str, bytes]
"""(host id, chain id)."""


def _key(chain: Chain) -> str:
    return f"{chain[0]}/{chain[1].hex()}"


class Repository:
    """Database `nightherd_detector`; everything is asked by `_id`: there are no other indexes."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._chains, self._hosts = database["chains"], database["hosts"]
        self._policies = database["policies"]

    async def prepare(self) -> None:
        """Nothing needs to be made."""

    async def settled(self, host_id: str, chain_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Return how far each chain is settled; 0 for one that is new."""
        keys = {_key((host_id, chain)): chain for chain in chain_ids}
        found = dict.fromkeys(chain_ids, 0)
        async for row in self._chains.find({"_id": {"$in": list(keys)}}):
            found[keys[row["_id"]]] = row["settled"]
        return found

    async def settle(self, numbers: Mapping[Chain, int]) -> None:
        """Write down how far chains are settled; never goes back."""
        if numbers:
            await self._chains.bulk_write(
                [
                    UpdateOne({"_id": _key(chain)}, {"$max": {"settled": number}}, upsert=True)
                    for chain, number in numbers.items()
                ],
                ordered=False,
            )

    async def hostname(self, host_id: str) -> str:
        """Return the name of a host; "" when it is not known."""
        row = await self._hosts.find_one({"_id": host_id})
        return str(row["name"]) if row else ""

    async def name_host(self, host_id: str, name: str) -> None:
        """Note the name of a host."""
        await self._hosts.update_one({"_id": host_id}, {"$set": {"name": name}}, upsert=True)

    async def policies(self) -> dict[str, dict[str, Any]]:
        """Return herd -> policy document, for herds that have one of their own."""
        return {row["_id"]: row["policy"] async for row in self._policies.find({})}
