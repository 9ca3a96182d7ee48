"""What the gateway asks of MongoDB: users, its key, lockouts, and the record of what was done."""

import datetime as dt
import re
import secrets
from collections.abc import AsyncIterator
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
    """Something a person did through the API, or tried to.

    Attributes:
        username: who, as they said.
        type: a word of the contract's, e.g. "login", "profile".
        source_ip: where from.
        api: method and path.
        status: how it was answered (HTTP).
        diff: what was changed.
    """

    username: str
    type: str
    source_ip: str
    api: str
    status: int
    diff: str = ""


@dataclass(frozen=True, slots=True)
class DeedQuery:
    """Which deeds. Empty: all."""

    types: tuple[str, ...] = ()
    usernames: tuple[str, ...] = ()
    not_before: dt.datetime | None = None
    not_after: dt.datetime | None = None
    search: str = ""

    def document(self) -> dict[str, Any]:
        """Return it in MongoDB's words."""
        query: dict[str, Any] = {}
        if self.types:
            query["type"] = {"$in": list(self.types)}
        if self.usernames:
            query["username"] = {"$in": list(self.usernames)}
        if self.not_before is not None:
            query.setdefault("time", {})["$gte"] = self.not_before
        if self.not_after is not None:
            query.setdefault("time", {})["$lte"] = self.not_after
        if self.search:
            pattern = {"$regex": re.escape(self.search), "$options": "i"}
            query["$or"] = [{name: pattern} for name in ("username", "api", "diff", "sourceIP")]
        return query


class Repository:
    """Database of the gateway."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._users, self._keys = database["users"], database["keys"]
        self._attempts, self._revoked = database["attempts"], database["revoked"]
        self._audit = database["audit"]

    async def prepare(self) -> None:
        """Make the indexes."""
        for passing in (self._attempts, self._revoked):
            await passing.create_indexes([IndexModel([("until", ASCENDING)], expireAfterSeconds=0)])
        await self._audit.create_indexes(
            [
                IndexModel([("time", DESCENDING)]),
                IndexModel([("username", ASCENDING), ("time", DESCENDING)]),
            ]
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
        """Return the key that signs bearer tokens, made once for all gateways."""
        row = await self._keys.find_one_and_update(
            {"_id": "tokens"},
            {"$setOnInsert": {"key": secrets.token_bytes(32)}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return bytes(row["key"])

    async def is_revoked(self, token: str) -> bool:
        """Whether the token with this id was revoked."""
        return await self._revoked.find_one({"_id": token}) is not None

    async def revoke(self, token: str, expires: dt.datetime) -> None:
        """Revoke the token with this id, remembered until it `expires`."""
        await self._revoked.update_one(
            {"_id": token}, {"$setOnInsert": {"until": expires}}, upsert=True
        )

    async def attempt(self, who: str, lasts_s: int) -> tuple[int, int]:
        """Count one attempt of `who`; return how many count now, and for how many seconds.

        An attempt above the limit does not prolong a lockout: the time starts with the first.
        """
        now = dt.datetime.now(dt.UTC)
        over = {"$lte": [{"$ifNull": ["$until", now]}, now]}
        fresh = now + dt.timedelta(seconds=lasts_s)
        row = await self._attempts.find_one_and_update(
            {"_id": who},
            [
                {
                    "$set": {
                        "count": {"$cond": [over, 1, {"$add": ["$count", 1]}]},
                        "until": {"$cond": [over, fresh, "$until"]},
                    }
                }
            ],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return row["count"], max(1, round((row["until"] - now).total_seconds()))

    async def forget_attempts(self, who: str) -> None:
        """Forget the attempts of `who`: the password was right."""
        await self._attempts.delete_one({"_id": who})

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
                "diff": deed.diff[:1000],
            }
        )

    async def deeds(
        self, query: DeedQuery, offset: int = 0, limit: int = 0, *, oldest_first: bool = False
    ) -> AsyncIterator[tuple[dt.datetime, Deed]]:
        """Yield when and what was done; `limit` 0 yields all."""
        direction = ASCENDING if oldest_first else DESCENDING
        rows = self._audit.find(query.document()).sort([("time", direction), ("_id", direction)])
        async for row in rows.skip(offset).limit(limit):
            yield (
                row["time"],
                Deed(
                    row["username"],
                    row["type"],
                    row["sourceIP"],
                    row["api"],
                    row["status"],
                    row.get("diff", ""),
                ),
            )

    async def count_deeds(self, query: DeedQuery) -> int:
        """Return how many deeds match."""
        return int(await self._audit.count_documents(query.document()))

    async def deed_usernames(self) -> list[str]:
        """Return everybody who did or tried something, at most 1000."""
        pipeline: list[dict[str, Any]] = [
            {"$group": {"_id": "$username"}},
            {"$sort": {"_id": 1}},
            {"$limit": 1000},
        ]
        return [row["_id"] async for row in self._audit.aggregate(pipeline)]
