"""Counts that headers say exactly, so that no body is opened for them.

`m` counts events a minute and kind; `v` counts them for each value of what facets ask for (JSON by
letter of the term). Both hold for a batch as a whole: one that lies across an end of the span asked
for is opened, as is one whose terms were cut.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

import orjson

from chassis.mongo import Database
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.candidates import FIELDS, MOST_MS, Candidates, Row
from services.store.repository.conditions import NAMES, Query, Wanted
from services.store.repository.days import Days
from services.store.repository.hours import Hour, Hours, Sums, cut

TERM_FACETS = {
    "user": "w",
    "effective_user": "u",
    "service": "s",
    "session": "n",
    "executable": "x",
    "path": "p",
}
OWNERS = {"h": "host", "d": "herd"}
BATCH = 5000
AT_ONCE = 4
"""Questions put to MongoDB at once for one answer: it gives each a core."""
COUNTED = 2
"""Version of the index from which terms have counts."""
SURE = {"xc": {"$ne": True}, "xv": {"$gte": COUNTED}}
_EXCLUSIVE = ("users", "effective_users")
"""Fields of which an event has one value at most, so that counts add up."""
_OTHERS = ("services", "session_ids")
_LETTERS = {"users": "w", "effective_users": "u", "services": "s", "session_ids": "n"}
_TIMES = frozenset({"from_time", "to_time"})
_PLAIN = _TIMES | {"hosts", "herds"}


def values_of(terms: Sequence[str], counts: Sequence[int]) -> dict[str, bytes]:
    """Return counts of values by letter, as they are stored."""
    found: dict[str, dict[str, int]] = {f"{letter}:": {} for letter in TERM_FACETS.values()}
    for term, count in zip(terms, counts, strict=False):
        values = found.get(term[:2])
        if values is not None:
            values[term[2:]] = count
    return {key[0]: orjson.dumps(values) for key, values in found.items() if values}


def counted_by_headers(asked: pb.EventFilter, facets: Sequence[str], slice_seconds: int) -> bool:
    """Whether headers say exactly what is asked for."""
    fields = {field.name for field, _ in asked.ListFields()} - _PLAIN
    if not fields:
        return True
    terms = set(facets) & set(TERM_FACETS)
    if fields == {"kinds"}:
        return not terms
    if len(fields) > 1 or slice_seconds or "kind" in facets:
        return False
    (field,) = fields
    if field in _OTHERS and len(getattr(asked, field)) > 1:
        return False
    same = {name for name, letter in TERM_FACETS.items() if letter == _LETTERS.get(field)}
    return field in (*_EXCLUSIVE, *_OTHERS) and terms <= (same if field in _EXCLUSIVE else set())


class Counts:
    """Adds up headers."""

    def __init__(self, database: "Database[Any]", candidates: Candidates, days: Days) -> None:
        """Use `database`."""
        self._database, self._candidates, self._days = database, candidates, days
        self._hours = Hours()

    async def add(
        self, wanted: Wanted, asked: pb.SummariseEventsRequest, sums: Sums
    ) -> AsyncIterator[Row]:
        """Add what headers say to `sums`; return the rows of batches that must be opened."""
        parts: dict[str, Sums] = {}
        jobs: list[Coroutine[Any, Any, None]] = []
        whole = {field.name for field, _ in asked.filter.ListFields()} <= _TIMES
        for day in await self._days.overlapping(wanted.from_ns, wanted.to_ns):
            part = parts[day.name] = Sums.of(asked.facets)
            for query, hint in await self._candidates.inside(day, wanted):
                rest, hours = cut(query, day, wanted) if whole else ([(query, hint)], [])
                jobs += [self._part(day.name, each, by, asked, part) for each, by in rest]
                jobs += [self._hour(hour, asked, part) for hour in hours]
        await _some_at_once(jobs)
        for part in parts.values():
            sums.add(part)
        return self._rest({day: part.unsure for day, part in parts.items()}, wanted)

    async def _hour(self, hour: Hour, asked: pb.SummariseEventsRequest, sums: Sums) -> None:
        """Add an hour, counted now or before."""
        # First: what comes while it is counted makes the next question count again.
        batches = await self._database[hour.day.name].count_documents(
            hour.ends(), hint=NAMES["time"], maxTimeMS=MOST_MS
        )
        counted = self._hours.known(hour, batches, asked)
        if counted is None:
            counted = Sums.of(asked.facets)
            if batches:
                await self._part(hour.day.name, hour.query(), "time", asked, counted)
            self._hours.note(hour, batches, asked, counted)
        sums.add(counted)

    async def _part(
        self, day: str, query: Query, hint: str, asked: pb.SummariseEventsRequest, sums: Sums
    ) -> None:
        """Add the batches of a query."""
        letters = {TERM_FACETS[name] for name in asked.facets if name in TERM_FACETS}
        filtered = _filtered(asked.filter)
        if filtered is not None:
            letters.add(filtered[0])
        else:
            sure = {**query, **SURE} if letters else query
            await self._add_minutes(day, sure, hint, asked, sums)
        if letters:
            await self._add_values(day, query, hint, letters, filtered, asked, sums)

    async def _add_minutes(
        self, day: str, query: Query, hint: str, asked: pb.SummariseEventsRequest, sums: Sums
    ) -> None:
        key: Query = {"k": {"$arrayElemAt": ["$m", 1]}}
        if step := asked.slice_seconds // 60:
            minute = {"$arrayElemAt": ["$m", 0]}
            key["s"] = {"$subtract": [minute, {"$mod": [minute, step]}]}
        key |= {name: f"${name}" for name, facet in OWNERS.items() if facet in sums.facets}
        steps: list[Query] = [
            {"$match": query},
            {"$project": {"m": 1, "h": 1, "d": 1}},
            {"$unwind": "$m"},
            {"$group": {"_id": key, "n": {"$sum": {"$arrayElemAt": ["$m", 2]}}}},
        ]
        groups = self._database[day].aggregate(
            steps, hint=NAMES[hint], maxTimeMS=MOST_MS, batchSize=BATCH
        )
        kinds = frozenset(asked.filter.kinds)
        told = [
            (letter, sums.facets[facet])
            for letter, facet in (("k", "kind"), *OWNERS.items())
            if facet in sums.facets
        ]
        while rows := await groups.to_list(BATCH):
            for row in rows:
                key, count = row["_id"], row["n"]
                if kinds and key["k"] not in kinds:
                    continue
                sums.total += count
                for letter, counter in told:
                    counter[key[letter]] += count
                if step:
                    sums.slices[key["s"] * 60, key["k"]] += count

    async def _add_values(
        self,
        day: str,
        query: Query,
        hint: str,
        letters: set[str],
        filtered: tuple[str, frozenset[str]] | None,
        asked: pb.SummariseEventsRequest,
        sums: Sums,
    ) -> None:
        """Add counts by value, and the ids of batches that do not say them exactly."""
        # MongoDB groups by fields as they are in less time than by expressions.
        key: Query = {"cut": "$xc", "version": "$xv"}
        key |= {letter: f"$v.{letter}" for letter in letters}
        if filtered is not None:
            key |= {f"o{name}": f"${name}" for name in OWNERS}
        steps: list[Query] = [{"$match": query}, {"$group": {"_id": key, "n": {"$sum": 1}}}]
        groups = self._database[day].aggregate(
            steps, hint=NAMES[hint], maxTimeMS=MOST_MS, batchSize=BATCH, allowDiskUse=True
        )
        unsure = False
        # Quiet hosts say the same again and again: each text is read once.
        texts: Counter[tuple[str, str, str, bytes]] = Counter()
        while rows := await groups.to_list(BATCH):
            for row in rows:
                said = row["_id"]
                if said.get("cut") or said.get("version", 0) < COUNTED:
                    unsure = True
                    continue
                for letter in letters & said.keys():
                    owner = said.get("oh", ""), said.get("od", "")
                    texts[*owner, letter, said[letter]] += row["n"]
        if unsure:
            found = self._database[day].find({**query, "$nor": [SURE]}, {"_id": True})
            sums.unsure += [
                row["_id"] async for row in found.hint(NAMES[hint]).max_time_ms(MOST_MS)
            ]
        _add_texts(texts, filtered, asked, sums)

    async def _rest(self, ids: Mapping[str, list[str]], wanted: Wanted) -> AsyncIterator[Row]:
        for name, keys in ids.items():
            for start in range(0, len(keys), BATCH):
                part = {"_id": {"$in": keys[start : start + BATCH]}}
                async for row in self._database[name].find(part, FIELDS):
                    yield row
        async for row in self._candidates.across_ends(wanted):
            yield row


async def _some_at_once(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all, AT_ONCE beside one another."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(job: Coroutine[Any, Any, None]) -> None:
        async with free:
            await job

    tasks = [asyncio.create_task(one(job)) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _filtered(asked: pb.EventFilter) -> tuple[str, frozenset[str]] | None:
    """Return (letter, values) of the one term field that is filtered by; None: there is none."""
    for field, letter in _LETTERS.items():
        if values := getattr(asked, field):
            return letter, frozenset(str(value) for value in values)
    return None


def _add_texts(
    texts: Mapping[tuple[str, str, str, bytes], int],
    filtered: tuple[str, frozenset[str]] | None,
    asked: pb.SummariseEventsRequest,
    sums: Sums,
) -> None:
    named: dict[str, list[Counter[str]]] = {}
    for facet in asked.facets:
        if facet in TERM_FACETS:
            named.setdefault(TERM_FACETS[facet], []).append(sums.facets[facet])
    for (host, herd, letter, text), times in texts.items():
        values: dict[str, int] = orjson.loads(bytes(text))
        if filtered is not None:
            values = {value: n for value, n in values.items() if value in filtered[1]}
            total = sum(values.values()) * times
            sums.total += total
            for name, value in (("host", host), ("herd", herd)):
                if total and name in sums.facets:
                    sums.facets[name][value] += total
        for counter in named.get(letter, ()):
            for value, count in values.items():
                counter[value] += count * times
