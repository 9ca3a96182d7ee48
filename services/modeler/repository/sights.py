"""Where and when services were seen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from chassis.mongo import Database
from services.modeler.repository.names import model_id


class Seen(NamedTuple):
    """Where and when one service of one herd was seen, in seconds, cut to the grain."""

    first: int
    last: int
    host_ids: tuple[str, ...]


class HostServices(NamedTuple):
    """The services of one host."""

    host_id: str
    herd: str
    services: tuple[str, ...]


class Sights:
    """Questions about the collection that `Lessons` fills."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._sights = database["sights"]

    async def of(self, models: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Seen]:
        """Return for each (herd, service) where and when it was seen."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"m": {"$in": [model_id(*model) for model in models]}}},
            {
                "$group": {
                    "_id": {"herd": "$herd", "service": "$service"},
                    "first": {"$min": "$first"},
                    "last": {"$max": "$last"},
                    "hosts": {"$addToSet": "$host"},
                }
            },
        ]
        return {
            (row["_id"]["herd"], row["_id"]["service"]): Seen(
                row["first"], row["last"], tuple(sorted(row["hosts"]))
            )
            async for row in self._sights.aggregate(pipeline)
        }

    async def hosts(
        self, host_ids: Sequence[str], offset: int, limit: int
    ) -> tuple[list[HostServices], int]:
        """Return a page of hosts with their services, sorted by host, and how many there are."""
        match = {"host": {"$in": list(host_ids)}} if host_ids else {}
        pipeline: list[dict[str, Any]] = [
            {"$match": match},
            {"$sort": {"last": -1}},
            {
                "$group": {
                    "_id": "$host",
                    "herd": {"$first": "$herd"},
                    "services": {"$addToSet": "$service"},
                }
            },
            {"$sort": {"_id": 1}},
            {"$skip": offset},
            {"$limit": limit},
        ]
        page = [
            HostServices(row["_id"], row["herd"], tuple(sorted(row["services"])))
            async for row in self._sights.aggregate(pipeline)
        ]
        return page, len(await self._sights.distinct("host", match))
