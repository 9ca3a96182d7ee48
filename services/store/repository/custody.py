"""What the custodian reads and puts right, and how far it came.

walks: _id host/chain: n, hash; _id "scrub": day, key: the last batch that was read; done: when the
last round ended.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chassis.mongo import ASCENDING, Binary, Database, UpdateOne
from nightherd.event.v1 import delivery_pb2 as delivery
from services.store.domain.links import Walked
from services.store.domain.scrubbing import Scrubbed
from services.store.repository.conditions import WIDE_NS
from services.store.repository.day_collections import names_of_days
from services.store.repository.days import Day, Days
from services.store.repository.headers import FORK, index_fields

SCRUB = "scrub"
MOST_CHAINS = 5_000
"""Chains walked in one go."""
RECENT_DAYS = 2
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is to be walked of one chain."""

    key: str
    host_id: str
    chain: str
    walked: Walked
    last: int
    remembered: dict[int, bytes]


class Custody:
    """Reads chains, headers and places of walks."""

    def __init__(self, database: "Database[Any]", days: Days) -> None:
        """Use `database`."""
        self._database, self._days = database, days
        self._chains, self._walks = database["chains"], database["walks"]

    async def stretches(self) -> AsyncIterator[Stretch]:
        """Yield the chains that grew since they were walked."""
        look = {"from": "walks", "localField": "_id", "foreignField": "_id", "as": "walk"}
        # Max takes no notice of what is not there.
        walked = {"$max": [{"$first": "$walk.n"}, "$gone", 0]}
        steps: list[Row] = [
            {"$match": {"last": {"$gt": 0}}},
            {"$lookup": look},
            {"$match": {"$expr": {"$gt": ["$last", walked]}}},
            {"$limit": MOST_CHAINS},
        ]
        async for row in self._chains.aggregate(steps):
            recent = {entry["n"]: bytes(entry["hash"]) for entry in row.get("recent", ())}
            before = row["walk"][0] if row["walk"] else None
            if before is not None:
                place = Walked(before["n"], bytes(before["hash"]))
            else:
                first = min(recent, default=row["last"])
                place = Walked(first - 1)
            if row.get("gone", 0) > place.number:
                place = Walked(row["gone"])
            yield Stretch(
                row["_id"],
                row["h"],
                row["c"],
                place,
                row["last"],
                {n: h for n, h in recent.items() if place.number < n <= row["last"]},
            )

    async def headers(self, stretches: Sequence[Stretch]) -> dict[str, list[tuple[int, bytes]]]:
        """Return chain -> (number, header) of each stretch, in order."""
        found: dict[str, dict[int, bytes]] = {one.key: {} for one in stretches}
        names = (await names_of_days(self._database))[::-1]
        # Nearly all were sealed today; who sealed long ago is looked for everywhere.
        for days in (names[:RECENT_DAYS], names[RECENT_DAYS:]):
            lacking = [s for s in stretches if len(found[s.key]) < s.last - s.walked.number]
            if not lacking:
                break
            ranges = [
                {
                    "_id": {
                        "$gt": f"{s.key}/{s.walked.number:015d}0",
                        "$lt": f"{s.key}/{s.last:015d}0",
                    }
                }
                if s.walked.number
                else {"_id": {"$gt": f"{s.key}/", "$lt": f"{s.key}/{s.last:015d}0"}}
                for s in lacking
            ]
            fields = {"h": True, "c": True, "n": True, "k": True, "f": True}
            for day in days:
                async for row in self._database[day].find({"$or": ranges}, fields):
                    if FORK not in row["f"]:
                        found[f"{row['h']}/{row['c']}"][row["n"]] = bytes(row["k"])
        return {key: sorted(numbers.items()) for key, numbers in found.items()}

    async def note_walked(self, places: Sequence[tuple[str, Walked]]) -> None:
        """Note how far chains were walked."""
        changes = [
            UpdateOne(
                {"_id": key},
                {"$set": {"n": walked.number, "hash": Binary(walked.hash)}},
                upsert=True,
            )
            for key, walked in places
        ]
        if changes:
            await self._walks.bulk_write(changes, ordered=False)

    async def next_to_scrub(self, most: int, pause_s: float) -> list[tuple[str, Row]]:
        """Return (day, header's row) of the next batches; none: wait for the next round."""
        place = await self._walks.find_one({"_id": SCRUB}) or {"day": "", "key": ""}
        age = dt.datetime.now(dt.UTC) - place.get("done", dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
        if not place["day"] and age.total_seconds() < pause_s:
            return []
        for day in await names_of_days(self._database):
            if day < place["day"]:
                continue
            query = {"_id": {"$gt": place["key"]}} if day == place["day"] else {}
            cursor = self._database[day].find(query).sort("_id", ASCENDING).limit(most)
            if rows := await cursor.to_list(None):
                return [(day, row) for row in rows]
        ended = {"day": "", "key": "", "done": dt.datetime.now(dt.UTC)}
        await self._walks.update_one({"_id": SCRUB}, {"$set": ended}, upsert=True)
        return []

    async def note_scrubbed(self, day: str, key: str) -> None:
        """Note that everything up to here was read."""
        await self._walks.update_one(
            {"_id": SCRUB}, {"$set": {"day": day, "key": key}}, upsert=True
        )

    async def put_right(self, day: str, row: Row, found: Scrubbed) -> bool:
        """Make index and times of a batch what its body says; True when the index was a lie."""
        if found.index is None:
            return False
        index = index_fields(found.index)
        change: Row = {}
        newer = row.get("xv", 0) > found.index.version
        older = row.get("xv", 0) < found.index.version
        lied = not newer and not older and not _same(row, index, found.index)
        if older or lied:
            change |= index
        if (row["t0"], row["t1"]) != (found.first_ns, found.last_ns):
            change |= {"t0": found.first_ns, "t1": found.last_ns}
            if found.last_ns - found.first_ns > WIDE_NS:
                change["w"] = True
        if change:
            whole = {**row, **change}
            wide = "w" in whole
            await self._days.widen([Day(day, whole["t0"], whole["t1"], whole["xc"], wide)])
            await self._days.changed(day)
            await self._database[day].update_one({"_id": row["_id"]}, {"$set": change})
            await self._days.changed(day)
        return lied


def _same(row: Row, index: Row, made: delivery.Index) -> bool:
    if row["xc"] != made.terms_cut or _counts(row) != _counts(index):
        return False
    # Of too many terms, which were cut follows from the order in which they came.
    return made.terms_cut or (set(row["x"]), _values(row)) == (set(index["x"]), _values(index))


def _counts(document: Row) -> list[tuple[Any, ...]]:
    return sorted(tuple(count) for count in document["m"])


def _values(document: Row) -> dict[str, Any]:
    try:
        return {letter: orjson.loads(bytes(text)) for letter, text in document.get("v", {}).items()}
    except orjson.JSONDecodeError:
        return {}
