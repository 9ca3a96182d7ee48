"""Batches that come: inserted in groups, once, whatever comes again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chassis import clock
from chassis.mongo import BulkWriteError, Database
from delivery.checks import Checked
from services.store.domain.chain import Place
from services.store.domain.places import batch_key, bodies_of, chain_key, fork_key
from services.store.domain.removals import of_headers
from services.store.repository import bodies
from services.store.repository.day_collections import DayCollections, names_of_days
from services.store.repository.days import Days
from services.store.repository.headers import FORK, bounds_of, day_of, document_of

DUPLICATE = 11000
NEW, AGAIN = "new", "again"


class Inserts:
    """Inserts into the collections of the days."""

    def __init__(self, database: "Database[Any]", days: Days) -> None:
        """Use `database`; tell `days` what they cover."""
        self._database, self._days = database, days
        self._collections, self._chains = DayCollections(database), database["chains"]

    async def append(self, group: Sequence[Place]) -> list[str]:
        """Insert a group; return for each batch NEW, AGAIN or FORK.

        Raises:
            PyMongoError: nothing may be acknowledged; sending again is harmless.
        """
        received_ns = clock.wall_ns()
        outcomes = await self._known(group)
        days: dict[str, list[int]] = {}
        for place, outcome in enumerate(outcomes):
            if outcome == NEW:
                days.setdefault(day_of(group[place].checked), []).append(place)
        for name, places in days.items():
            collection = await self._collections.headers(name)
            documents = [document_of(group[place].checked, received_ns) for place in places]
            await self._days.widen([bounds_of(name, documents)])
            # Bodies first: where a header is, its body was. One without a header is no harm.
            kept = await self._keep_bodies(
                name,
                [
                    bodies.document_of(document["_id"], group[place].checked)
                    for document, place in zip(documents, places, strict=True)
                ],
            )
            try:
                await collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                only_duplicates(error)
                errors = error.details["writeErrors"]
                keys = [documents[e["index"]]["_id"] for e in errors]
                there = await _headers(collection, keys)
                for error_ in errors:
                    place = places[error_["index"]]
                    outcomes[place] = _compared(there, group[place].checked)
                forks = [
                    key
                    for key, error_ in zip(keys, errors, strict=True)
                    if outcomes[places[error_["index"]]] == FORK
                ]
                await self._take_back(name, kept & set(keys), forks)
        for place, outcome in enumerate(outcomes):
            if outcome == FORK:
                await self._keep_fork(group[place].checked, received_ns)
        return outcomes

    async def _known(self, group: Sequence[Place]) -> list[str]:
        """Tell resends and forks of what was stored on another day, or long ago."""
        asked = [
            batch_key(*one.checked.key)
            for one in group
            if one.hash_there is None and one.may_be_there
        ]
        there: dict[str, bytes] = {}
        if asked:
            for name in reversed(await names_of_days(self._database)):
                there |= await _headers(self._database[name], asked)
                if len(there) == len(set(asked)):
                    break
        settled = await self._dropped([one for one in group if one.may_be_there])
        outcomes = []
        for one in group:
            if one.hash_there is not None:
                outcomes.append(AGAIN if one.hash_there == one.checked.hash else FORK)
            elif batch_key(*one.checked.key) in there:
                outcomes.append(_compared(there, one.checked))
            elif (dropped := settled.get(batch_key(*one.checked.key))) is not None:
                # Settled so long ago that its header is gone; or sealed later, under its number.
                outcomes.append(AGAIN if dropped else FORK)
            else:
                outcomes.append(NEW)
        return outcomes

    async def _dropped(self, places: Sequence[Place]) -> dict[str, bool]:
        """Tell which numbers are of batches whose headers retention dropped.

        Returns batch -> whether it is of a day of which retention dropped the headers itself.
        """
        asked = [one.checked for one in places if one.hash_there is None]
        if not asked:
            return {}
        keys = list({_chain(checked) for checked in asked})
        rows = self._chains.find({"_id": {"$in": keys}, "gone": {"$gt": 0}}, {"gone": True})
        gone = {row["_id"]: row["gone"] async for row in rows}
        old = [one for one in asked if one.header.batch_number <= gone.get(_chain(one), 0)]
        if not old:
            return {}
        marks = {of_headers(day_of(checked)) for checked in old}
        found = self._database["removals"].find({"_id": {"$in": list(marks)}}, {"_id": True})
        there = {row["_id"] async for row in found}
        return {batch_key(*one.key): of_headers(day_of(one)) in there for one in old}

    async def _keep_bodies(self, name: str, documents: Sequence[dict[str, Any]]) -> set[str]:
        """Insert bodies; return the ids of those that were not there."""
        kept = {document["_id"] for document in documents}
        try:
            await self._database[bodies_of(name)].insert_many(documents, ordered=False)
        except BulkWriteError as error:
            only_duplicates(error)
            kept -= {documents[each["index"]]["_id"] for each in error.details["writeErrors"]}
        return kept

    async def _take_back(self, name: str, kept: Iterable[str], forks: Iterable[str]) -> None:
        """Remove bodies inserted just now of headers that were there.

        Those whose body had been removed, and those that are another batch's. Where neither is so,
        another replica inserts the same batch at this moment, and relies on the body.
        """
        again = list(kept)
        if not again:
            return
        removed = self._database[name].find({"_id": {"$in": again}, "z": 0}, {"_id": True})
        wrong = {row["_id"] async for row in removed} | (set(forks) & set(again))
        if wrong:
            await self._database[bodies_of(name)].delete_many({"_id": {"$in": sorted(wrong)}})

    async def _keep_fork(self, checked: Checked, received_ns: int) -> None:
        document = document_of(checked, received_ns)
        document["_id"] = fork_key(document["_id"], checked.hash)
        document["f"].append(FORK)
        name = day_of(checked)
        collection = await self._collections.headers(name)
        await self._days.widen([bounds_of(name, [document])])
        # The host as well: it is what a cluster spreads batches by.
        key = {"_id": document.pop("_id"), "h": document.pop("h")}
        await self._keep_bodies(name, [bodies.document_of(key["_id"], checked)])
        await collection.update_one(key, {"$setOnInsert": document}, upsert=True)


def only_duplicates(error: BulkWriteError) -> None:
    """Let pass that documents were there already.

    Raises:
        BulkWriteError: something else is wrong, too.
    """
    errors = error.details["writeErrors"]
    if any(e["code"] != DUPLICATE for e in errors) or error.details.get("writeConcernErrors"):
        raise error


def _chain(checked: Checked) -> str:
    return chain_key(checked.header.host_id, checked.header.chain_id)


async def _headers(collection: Any, keys: Sequence[str]) -> dict[str, bytes]:
    """Return key -> header's bytes, for those that are there."""
    rows = collection.find({"_id": {"$in": list(keys)}}, {"k": True})
    return {row["_id"]: bytes(row["k"]) async for row in rows}


def _compared(there: Mapping[str, bytes], checked: Checked) -> str:
    same = there.get(batch_key(*checked.key)) == checked.batch.header
    return AGAIN if same else FORK
