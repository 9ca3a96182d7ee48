"""Counts that headers say exactly, so that no body is opened for them.

`m` counts events a minute and kind; `v` counts them for each value of what facets ask for (JSON by
letter of the term). Both hold for a batch as a whole: one that lies across an end of the span asked
for is opened, as is one whose terms were cut.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from chassis.mongo import Database
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.candidates import FIELDS, MOST_MS, Candidates, Row
from services.store.repository.conditions import NAMES, Query, Wanted
from services.store.repository.days import Days

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
COUNTED = 2
"""Version of the index from which terms have counts."""
SURE = {"xc": {"$ne": True}, "xv": {"$gte": COUNTED}}
_EXCLUSIVE = ("users", "effective_users")
"""Fields of which an event has one value at most, so that counts add up."""
_OTHERS = ("services", "session_ids")
_LETTERS = {"users": "w", "effective_users": "u", "services": "s", "session_ids": "n"}
_PLAIN = frozenset({"hosts", "herds", "from_time", "to_time"})


class Sums(Protocol):
    """Where counts go."""

    total: int
    facets: dict[str, Counter[str]]
    slices: "Counter[tuple[int, str]]"


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

    async def add(
        self, wanted: Wanted, asked: pb.SummariseEventsRequest, sums: Sums
    ) -> AsyncIterator[Row]:
        """Add what headers say to `sums`; return the rows of batches that must be opened."""
        rest: dict[str, list[str]] = {}
        letters = {TERM_FACETS[name] for name in asked.facets if name in TERM_FACETS}
        filtered = _filtered(asked.filter)
        if filtered is not None:
            letters.add(filtered[0])
        for day in await self._days.overlapping(wanted.from_ns, wanted.to_ns):
            for query, hint in await self._candidates.inside(day, wanted):
                whole = {**query, **SURE} if letters else query
                minutes = self._add_minutes(day.name, whole, hint, asked, sums)
                if not letters:
                    await minutes
                    continue
                values = self._add_values(day.name, query, hint, letters, filtered, asked, sums)
                if filtered is not None:
                    minutes.close()
                    rest[day.name] = await values
                else:
                    _, rest[day.name] = await asyncio.gather(minutes, values)
        return self._rest(rest, wanted)

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
        rows = self._database[day].aggregate(steps, hint=NAMES[hint], maxTimeMS=MOST_MS)
        kinds = frozenset(asked.filter.kinds)
        async for row in rows:
            key, count = row["_id"], row["n"]
            if kinds and key["k"] not in kinds:
                continue
            sums.total += count
            for name, value in (("kind", "k"), ("host", "h"), ("herd", "d")):
                if name in sums.facets:
                    sums.facets[name][key[value]] += count
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
    ) -> list[str]:
        """Add counts by value; return the ids of batches that do not say them exactly."""
        unclear = {"$or": ["$xc", {"$lt": ["$xv", COUNTED]}]}
        key: Query = {"i": {"$cond": [unclear, "$_id", None]}}
        key |= {letter: f"$v.{letter}" for letter in letters}
        if filtered is not None:
            key |= {f"o{name}": f"${name}" for name in OWNERS}
        steps: list[Query] = [{"$match": query}, {"$group": {"_id": key, "n": {"$sum": 1}}}]
        groups = self._database[day].aggregate(
            steps, hint=NAMES[hint], maxTimeMS=MOST_MS, batchSize=BATCH, allowDiskUse=True
        )
        unsure: list[str] = []
        # Quiet hosts say the same again and again: each text is read once.
        texts: Counter[tuple[str, str, str, bytes]] = Counter()
        while rows := await groups.to_list(BATCH):
            for row in rows:
                said = row["_id"]
                if said["i"] is not None:
                    unsure.append(said["i"])
                    continue
                for letter in letters & said.keys():
                    owner = said.get("oh", ""), said.get("od", "")
                    texts[*owner, letter, said[letter]] += row["n"]
        _add_texts(texts, filtered, asked, sums)
        return unsure

    async def _rest(self, ids: Mapping[str, list[str]], wanted: Wanted) -> AsyncIterator[Row]:
        for name, keys in ids.items():
            for start in range(0, len(keys), BATCH):
                part = {"_id": {"$in": keys[start : start + BATCH]}}
                async for row in self._database[name].find(part, FIELDS):
                    yield row
        async for row in self._candidates.across_ends(wanted):
            yield row


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
