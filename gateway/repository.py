"""What the gateway asks of MongoDB: users, its key, lockouts, and the record of what was done."""

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import Any

from chassis.mongo import ASCENDING, DESCENDING, Database, IndexModel, ReturnDocument


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: str
    role: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Deed:
    """Something a person did through the API."""

    username: str
    type: str
    source_ip: str
    api: str
    status: int
    detail: str = ""


class Repository:
    """Database of the gateway."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._users, self._keys = database["users"], database["keys"]
        self._failures, self._audit = database["failures"], database["audit"]

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._failures.create_indexes(
            [IndexModel([("until", ASCENDING)], expireAfterSeconds=0)]
        )
        await self._audit.create_indexes(
            [IndexModel([("time", DESCENDING)]), IndexModel([("username", 1), ("time", -1)])]
        )

    async def user(self, name: str) -> User | None:
        """Return a user."""
        row = await self._users.find_one({"_id": name})
        return User(row["_id"], row["role"], row["hash"]) if row else None

    async def put_user(self, user: User) -> None:
        """Add or replace a user."""
        await self._users.replace_one(
            {"_id": user.name},
            {"_id": user.name, "role": user.role, "hash": user.password_hash},
            upsert=True,
        )

    async def token_key(self) -> bytes:
        """Return the key that signs bearer tokens, made once for all replicas."""
        row = await self._keys.find_one_and_update(
            {"_id": "tokens"},
            {"$setOnInsert": {"key": secrets.token_bytes(32)}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return bytes(row["key"])

    async def failures(self, who: str) -> tuple[int, dt.datetime | None]:
        """Return how often `who` failed lately, and until when that counts."""
        row = await self._failures.find_one({"_id": who})
        if row is None or row["until"] <= dt.datetime.now(dt.UTC):
            return 0, None
        return row["count"], row["until"]

    async def failed(self, who: str, lasts_s: int) -> None:
        """Count one failure of `who`."""
        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=lasts_s)
        await self._failures.update_one(
            {"_id": who}, {"$inc": {"count": 1}, "$set": {"until": until}}, upsert=True
        )

    async def succeeded(self, who: str) -> None:
        """Forget the failures of `who`."""
        await self._failures.delete_one({"_id": who})

    async def record(self, deed: Deed) -> None:
        """Write down what was done."""
        await self._audit.insert_one(
            {
                "time": dt.datetime.now(dt.UTC),
                "username": deed.username[:200],
                "type": deed.type,
                "sourceIP": deed.source_ip,
                "api": deed.api[:500],
                "status": deed.status,
                "detail": deed.detail[:1000],
            }
        )

    async def deeds(
        self, query: dict[str, Any], offset: int, limit: int, *, oldest_first: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """Return what was done, and how much matches."""
        rows = self._audit.find(query, {"_id": False}).sort("time", 1 if oldest_first else -1)
        page = await rows.skip(offset).limit(limit).to_list(None)
        return page, await self._audit.count_documents(query)
