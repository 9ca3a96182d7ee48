"""Days spread over the shards of a cluster, where MongoDB is one (docs/scale.md)."""

from typing import Any

from chassis.mongo import Database

BY_HOST = {"h": "hashed"}
"""Batches: all of a host lie on one shard, so that `_id`, which begins with the host, is unique in
the cluster, and a question about a host asks one shard."""
BY_ID = {"_id": "hashed"}
"""Bodies: read by id only."""


class Sharding:
    """Shards collections as they begin; does nothing where MongoDB is no cluster."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database
        self._is_cluster: bool | None = None

    async def spread(self, collection: str, key: dict[str, str]) -> None:
        """Shard a collection by `key`; harmless when it is sharded so already."""
        if self._is_cluster is None:
            hello = await self._database.client.admin.command("hello")
            self._is_cluster = is_cluster(hello)
        if self._is_cluster:
            command = command_of(self._database.name, collection, key)
            await self._database.client.admin.command(command)


def is_cluster(hello: dict[str, Any]) -> bool:
    """Whether who answered `hello` is the router of a sharded cluster."""
    return hello.get("msg") == "isdbgrid"


def command_of(database: str, collection: str, key: dict[str, str]) -> dict[str, Any]:
    """Return the command that shards a collection."""
    return {"shardCollection": f"{database}.{collection}", "key": key}
