"""Leases: which replica does a task that one at a time should do.

A document a task: _id its name; holder; until (MongoDB's clock, so replicas' clocks do not matter).
"""

import datetime as dt
import secrets
from typing import Any

from chassis.mongo import Database, DuplicateKeyError, ReturnDocument


class Leases:
    """This replica's leases."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`; every object is a holder of its own."""
        self._leases = database["leases"]
        self._holder = secrets.token_hex(8)

    async def take(self, task: str, seconds: float) -> bool:
        """Take or prolong the lease of `task`; False while another replica has it."""
        ours = {
            "$or": [
                {"$eq": ["$holder", self._holder]},
                {"$lt": [{"$ifNull": ["$until", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)]}, "$$NOW"]},
            ]
        }
        until = {"$add": ["$$NOW", round(seconds * 1000)]}
        change = {
            "holder": {"$cond": [ours, self._holder, "$holder"]},
            "until": {"$cond": [ours, until, "$until"]},
        }
        for _ in range(2):
            try:
                row = await self._leases.find_one_and_update(
                    {"_id": task},
                    [{"$set": change}],
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:  # two made the document at once: the other's is there now
                continue
            return bool(row["holder"] == self._holder)
        return False

    async def give_back(self, task: str) -> None:
        """End the lease, if it is this replica's."""
        await self._leases.delete_one({"_id": task, "holder": self._holder})

    async def now(self) -> dt.datetime:
        """Return the time by MongoDB's clock."""
        hello = await self._leases.database.command("hello")
        time: dt.datetime = hello["localTime"]
        # Answers to commands are decoded without the client's zone; MongoDB means UTC.
        return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
