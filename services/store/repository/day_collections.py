"""The collections of a day: made when its first batch comes, indexed, spread over shards."""

import time
from typing import Any

import structlog

from chassis.mongo import Database, OperationFailure
from services.store.domain.places import PREFIX, bodies_of
from services.store.repository.conditions import INDEXES
from services.store.repository.sharding import BY_HOST, BY_ID, Sharding

log = structlog.get_logger()
EXISTS = 48
READY_S = 3600.0
"""How long a collection is taken to be as it was made."""
WELL_PACKED = {"wiredTiger": {"configString": "block_compressor=zstd"}}
"""Headers of quiet hosts take a third less than with snappy, for 3 µs of MongoDB's time each."""


async def names_of_days(database: "Database[Any]") -> list[str]:
    """Return the names of the collections of headers that there are, oldest first."""
    return sorted(await database.list_collection_names(filter={"name": {"$regex": f"^{PREFIX}"}}))


class DayCollections:
    """Makes what is not there yet."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database
        self._ready: dict[str, float] = {}
        self._sharding = Sharding(database)

    async def headers(self, name: str) -> Any:
        """Return the collection of headers `name`; it and that of the bodies are ready."""
        collection = self._database[name]
        # Anew now and then: retention may have dropped it since, if nothing came meanwhile.
        if time.monotonic() - self._ready.get(name, -READY_S) >= READY_S:
            await self._make(name)
            await self._make(bodies_of(name))
            await self._sharding.spread(name, BY_HOST)
            await self._sharding.spread(bodies_of(name), BY_ID)
            await collection.create_indexes(list(INDEXES.values()))
            self._ready[name] = time.monotonic()
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
