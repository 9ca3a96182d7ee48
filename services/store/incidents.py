"""Answers to questions about incidents; and that somebody has seen one."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from chassis import clock
from chassis.mongo import ASCENDING, DESCENDING
from nightherd.store.v1 import store_service_pb2 as pb
from services.store import naming, wire
from services.store.domain.incidents import ACKNOWLEDGED, OPEN, QUIET, QUIET_NS
from services.store.repository.filters import MAX_VALUES, QueryError, bounds, time_span
from services.store.repository.hosts import Hosts
from services.store.repository.incidents import Incidents, Row
from services.store.repository.kept import Kept

PART = 500
"""Records in one message of a stream."""
MOST_NAME, MOST_NOTE = 256, 1000
NEWEST = (("t1", DESCENDING), ("_id", ASCENDING))
STATES = {
    pb.INCIDENT_STATE_OPEN: OPEN,
    pb.INCIDENT_STATE_QUIET: QUIET,
    pb.INCIDENT_STATE_ACKNOWLEDGED: ACKNOWLEDGED,
}


class IncidentQuestions:
    """Reads, and acknowledges."""

    def __init__(self, incidents: Incidents, kept: Kept, hosts: Hosts) -> None:
        """Read from these."""
        self._incidents, self._kept, self._hosts = incidents, kept, hosts

    async def page(self, asked: pb.ListIncidentsRequest) -> pb.ListIncidentsResponse:
        """Return a page.

        Raises:
            HostUnknownError: one of the hosts does not exist.
            QueryError: it cannot be asked for.
        """
        query = await self._query(asked.filter)
        rows = await self._incidents.page(query, NEWEST, *bounds(asked.offset, asked.limit))
        total = await self._incidents.count(query)
        return pb.ListIncidentsResponse(incidents=await self._records(rows), total_count=total)

    async def all(self, asked: pb.IncidentFilter) -> AsyncIterator[pb.StreamIncidentsResponse]:
        """Yield all that match, in parts."""
        part: list[Row] = []
        async for row in self._incidents.stream(await self._query(asked), NEWEST):
            part.append(row)
            if len(part) == PART:
                yield pb.StreamIncidentsResponse(incidents=await self._records(part))
                part = []
        if part:
            yield pb.StreamIncidentsResponse(incidents=await self._records(part))

    async def one(self, incident_id: str) -> pb.Incident:
        """Return one.

        Raises:
            IncidentUnknownError: there is none.
        """
        return (await self._records([await self._incidents.find(incident_id)]))[0]

    async def acknowledge(self, asked: pb.AcknowledgeIncidentRequest) -> pb.Incident:
        """Note who has seen it.

        Raises:
            IncidentUnknownError: there is none.
            QueryError: nobody has, or with too many words.
        """
        who, note = asked.acknowledged_by, asked.note
        if not who.strip() or len(who) > MOST_NAME:
            raise QueryError(f"acknowledged_by: 1 to {MOST_NAME} characters")
        if len(note) > MOST_NOTE:
            raise QueryError(f"note: at most {MOST_NOTE} characters")
        row = await self._incidents.acknowledge(asked.incident_id, who, note)
        return (await self._records([row]))[0]

    async def _records(self, rows: Sequence[Row]) -> list[pb.Incident]:
        hosts = await self._hosts.known(sorted({row["host"] for row in rows}))
        extents = await self._kept.extents([row["_id"] for row in rows])
        now_ns = clock.wall_ns()
        return [
            wire.incident(row, hosts.get(row["host"], {}), now_ns, extents.get(row["_id"]))
            for row in rows
        ]

    async def _query(self, asked: pb.IncidentFilter) -> Row:
        terms = await conditions(asked, self._hosts)
        if unknown := set(asked.states) - set(STATES):
            raise QueryError(f"states: {min(unknown)} is unknown")
        now_ns = clock.wall_ns()
        if asked.states:
            terms.append({"$or": [in_state(STATES[state], now_ns) for state in asked.states]})
        span = time_span(asked)
        if "$gte" in span:
            terms.append({"t1": {"$gte": span["$gte"]}})
        if "$lte" in span:
            terms.append({"t0": {"$lte": span["$lte"]}})
        return {"$and": terms} if terms else {}


async def conditions(asked: pb.IncidentFilter | pb.EventFilter, hosts: Hosts) -> list[Row]:
    """Return the conditions for hosts, herds, users and services.

    Raises:
        HostUnknownError: one of the hosts does not exist.
        QueryError: too many values.
    """
    terms: list[dict[str, Any]] = []
    for field, values in (
        ("herd", asked.herds),
        ("users", asked.users),
        ("service", asked.services),
        ("host", asked.hosts),
    ):
        if len(values) > MAX_VALUES:
            raise QueryError(f"{field}: at most {MAX_VALUES} values")
        if values:
            wanted = await naming.ids_of(values, hosts) if field == "host" else list(values)
            terms.append({field: {"$in": wanted}})
    return terms


def in_state(state: str, now_ns: int) -> Row:
    """Return the condition for a state; the same as `state_of`."""
    if state == ACKNOWLEDGED:
        return {"at": {"$gt": 0}}
    if state == OPEN:
        return {"open": True, "t1": {"$gte": now_ns - QUIET_NS}}
    return {"at": None, "$or": [{"open": False}, {"t1": {"$lt": now_ns - QUIET_NS}}]}
