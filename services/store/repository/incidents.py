"""Incidents: every occurrence of an alert belongs to one, whoever records it, in whatever order.

incidents: _id; key, host, boot, session, service: see domain/incidents.py; herd; users; t0, t1
first and last time of its alerts (wall ns); r: when (wall ns) it last received one; open: none of
its key came after it (unique: at most one a key); count, severities: sums over occurrences, which
bear its id; alerts, attacks: some of their keys and types; at, who, note: when (wall ns) it was
acknowledged, by whom, with which words; going: it is being removed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from chassis import clock
from chassis.errors import NotFoundError, UnavailableError
from chassis.mongo import (
    ASCENDING,
    DESCENDING,
    Database,
    DuplicateKeyError,
    IndexModel,
    ReturnDocument,
    UpdateOne,
)
from nightherd.detector.v1 import finding_pb2 as pb
from services.store.domain import incidents as domain
from services.store.domain.incidents import QUIET_NS, Noted, Run
from services.store.repository.views import united

ATTEMPTS = 20
MOST_ALERTS, MOST_USERS = 100, 20
MOST_CHARACTERS = 256
THERE = {"count": {"$gt": 0}}
"""One that lost its only alert to another replica's is not shown."""
Row = dict[str, Any]


class IncidentUnknownError(NotFoundError):
    """No such incident."""

    reason = "INCIDENT_UNKNOWN"


class IncidentBusyError(UnavailableError):
    """Too many replicas write to one incident at once."""

    reason = "INCIDENT_BUSY"


class Incidents:
    """One document an incident."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._incidents, self._occurrences = database["incidents"], database["occurrences"]

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._incidents.create_indexes(
            [
                IndexModel(
                    [("key", ASCENDING)],
                    name="open_key",
                    unique=True,
                    partialFilterExpression={"open": True},
                ),
                IndexModel([("key", ASCENDING), ("t1", DESCENDING)]),
                IndexModel([("t0", ASCENDING)]),
                IndexModel([("t1", DESCENDING), ("_id", ASCENDING)]),
                IndexModel([("host", ASCENDING), ("t1", DESCENDING)]),
                IndexModel([("at", ASCENDING)], sparse=True),
                IndexModel([("going", ASCENDING)], sparse=True),
            ]
        )
        await self._occurrences.create_indexes(
            [IndexModel([("i", ASCENDING), ("sv", ASCENDING)], sparse=True)]
        )

    async def follow(self, alerts: Sequence[pb.Finding]) -> None:
        """Put recorded occurrences of alerts into incidents; again: changes nothing."""
        found = {alert.occurrence_id: alert for alert in alerts}
        for _ in range(ATTEMPTS):
            if not found or await self._settle(found):
                return
        raise IncidentBusyError("too many record alerts of one incident at once; try again")

    async def _settle(self, found: Mapping[str, pb.Finding]) -> bool:
        """Put them into incidents; False: one was closed meanwhile, so again."""
        rows = await self._places(found)
        noted = [
            Noted(found[key], row.get("r", clock.wall_ns()))
            for key, row in rows.items()
            if "i" not in row
        ]
        closed = False
        for run in domain.runs(noted):
            place = await self._joined(run)
            # Who was quicker with one of them has put it where it stays.
            homeless = {"_id": {"$in": run.occurrence_ids}, "i": None}
            put = await self._occurrences.update_many(homeless, {"$set": {"i": place}})
            seen = {"_id": place, "at": {"$ne": None}}
            if put.modified_count and await self._incidents.find_one(seen, {"_id": True}):
                # Who acknowledged it did not see these.
                mine = {"_id": {"$in": run.occurrence_ids}, "i": place}
                await self._occurrences.update_many(mine, {"$unset": {"i": True}})
                closed = True
        if closed:
            return False
        if noted:
            rows = await self._places(found)
        members: dict[str, list[pb.Finding]] = {}
        for key, row in rows.items():
            if "i" not in row:  # another replica took it out again
                return False
            members.setdefault(row["i"], []).append(found[key])
        await self._refresh(members)
        return True

    async def _places(self, found: Mapping[str, pb.Finding]) -> dict[str, Row]:
        rows = self._occurrences.find({"_id": {"$in": list(found)}}, {"i": True, "r": True})
        return {row["_id"]: row async for row in rows}

    async def _joined(self, run: Run) -> str:
        """Return the incident that a run belongs to, which reaches over it from now on."""
        key = run.key.text()
        reach = {
            "key": key,
            "at": None,
            "going": None,
            "t0": {"$lte": run.last_ns + QUIET_NS},
            "t1": {"$gte": run.first_ns - QUIET_NS},
        }
        wider = {"$min": {"t0": run.first_ns}, "$max": {"t1": run.last_ns, "r": run.received_ns}}
        latest = [("t1", DESCENDING)]
        for attempt in range(ATTEMPTS):
            row = await self._incidents.find_one_and_update(
                reach, wider, projection={"_id": True}, sort=latest
            )
            if row is not None:
                return str(row["_id"])
            over = {"key": key, "open": True, "t1": {"$lt": run.first_ns - QUIET_NS}}
            await self._incidents.update_one(over, {"$set": {"open": False}})
            after = {"key": key, "open": True, "t0": {"$gt": run.last_ns + QUIET_NS}}
            later = await self._incidents.find_one(after, {"_id": True})
            begun = {
                "_id": run.incident_id(attempt),
                "key": key,
                "host": run.key.host_id,
                "boot": run.key.boot_id[:MOST_CHARACTERS],
                "session": run.key.session_id,
                "service": run.key.service,
                "t0": run.first_ns,
                "t1": run.last_ns,
                "r": run.received_ns,
                "open": later is None,
            }
            try:
                await self._incidents.insert_one(begun)
            except DuplicateKeyError:
                continue  # another replica began one: it is joined
            return run.incident_id(attempt)
        raise IncidentBusyError("too many record alerts of one incident at once; try again")

    async def _refresh(self, members: Mapping[str, Sequence[pb.Finding]]) -> None:
        """Bring what is shown up to date, from all occurrences and from `members`."""
        group: Row = {"_id": {"i": "$i", "sv": "$sv"}, "count": {"$sum": 1}}
        severities: dict[str, dict[int, int]] = {}
        steps: list[Row] = [{"$match": {"i": {"$in": list(members)}}}, {"$group": group}]
        async for row in self._occurrences.aggregate(steps):
            severities.setdefault(row["_id"]["i"], {})[row["_id"]["sv"]] = row["count"]
        changes = [
            UpdateOne({"_id": key}, [{"$set": _shown(severities.get(key, {}), alerts)}])
            for key, alerts in members.items()
        ]
        await self._incidents.bulk_write(changes, ordered=False)

    async def find(self, incident_id: str) -> Row:
        """Return one.

        Raises:
            IncidentUnknownError: there is none.
        """
        return _known(await self._incidents.find_one({"_id": incident_id, **THERE}), incident_id)

    async def acknowledge(self, incident_id: str, who: str, note: str) -> Row:
        """Note who has seen it, and close it; the first who did stands.

        Raises:
            IncidentUnknownError: there is none.
        """
        seen = {"at": clock.wall_ns(), "who": who, "note": note, "open": False}
        row = await self._incidents.find_one_and_update(
            {"_id": incident_id, "at": None, **THERE},
            {"$set": seen},
            return_document=ReturnDocument.AFTER,
        )
        return row if row is not None else await self.find(incident_id)

    async def page(
        self, query: Row, sort: Sequence[tuple[str, int]], offset: int, limit: int
    ) -> list[Row]:
        """Return documents."""
        shown = {"$and": [THERE, query]}
        rows = self._incidents.find(shown).sort(list(sort)).skip(offset).limit(limit)
        found: list[Row] = await rows.to_list(None)
        return found

    async def count(self, query: Row) -> int:
        """Return how many match."""
        return int(await self._incidents.count_documents({"$and": [THERE, query]}))

    async def overlapping(self, host_id: str, from_ns: int, to_ns: int) -> AsyncIterator[Row]:
        """Yield incidents (of a host; "": of all) with alerts in a span of time."""
        query: Row = {"t1": {"$gte": from_ns}, "t0": {"$lte": to_ns}}
        if host_id:
            query["host"] = host_id
        fields = {"host": True, "t0": True, "t1": True}
        async for row in self._incidents.find(query, fields):
            yield row

    async def end(self, before_ns: int, most: int) -> list[str]:
        """Choose incidents whose last alert was, and came, before; nothing joins them from now on.

        Returns their ids, and those of an earlier run that was killed.
        """
        over: Row = {
            "t1": {"$lt": before_ns},
            "going": None,
            "$or": [{"r": None}, {"r": {"$lt": before_ns}}],
        }
        rows = self._incidents.find(over, {"_id": True}).limit(most)
        ids = [row["_id"] async for row in rows]
        # One that just got another alert is not over any more.
        going = {"$set": {"going": True, "open": False}}
        await self._incidents.update_many({"_id": {"$in": ids}, **over}, going)
        chosen = self._incidents.find({"going": True}, {"_id": True}).limit(most)
        return [row["_id"] async for row in chosen]

    async def remove(self, incident_ids: Sequence[str]) -> None:
        """Remove incidents that were chosen to go."""
        await self._incidents.delete_many({"_id": {"$in": list(incident_ids)}, "going": True})

    async def stream(self, query: Row, sort: Sequence[tuple[str, int]]) -> AsyncIterator[Row]:
        """Yield all documents."""
        shown = {"$and": [THERE, query]}
        async for row in self._incidents.find(shown, allow_disk_use=True).sort(list(sort)):
            yield row


def _known(row: Row | None, incident_id: str) -> Row:
    if row is None:
        raise IncidentUnknownError(f"There is no incident {incident_id[:64]}")
    return row


def _shown(severities: Mapping[int, int], alerts: Sequence[pb.Finding]) -> Row:
    latest = max(alerts, key=lambda alert: clock.from_timestamp(alert.event_time))
    users = sorted({alert.actor.user for alert in alerts} - {""})
    shown: Row = {
        "herd": {"$literal": latest.herd},
        # Occurrences only go by retention, which changes no story.
        "count": {"$max": ["$count", sum(severities.values())]},
        "users": united("users", users, MOST_USERS),
        "alerts": united("alerts", sorted({a.alert.alert_key for a in alerts}), MOST_ALERTS),
        "attacks": united("attacks", sorted({a.alert.attack_type for a in alerts}), MOST_ALERTS),
    }
    for severity, count in severities.items():
        shown[f"severities.{severity}"] = {"$max": [f"$severities.{severity}", count]}
    return shown
