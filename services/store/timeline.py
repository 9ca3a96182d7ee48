"""One list in order of time: events, activities, alerts, incidents and gaps."""

from dataclasses import dataclass
from typing import Any

from chassis import clock
from nightherd.store.v1 import store_service_pb2 as pb
from services.store import naming, wire
from services.store.domain.incidents import ACKNOWLEDGED, QUIET
from services.store.domain.paging import Collector, Page, Position
from services.store.incidents import conditions, in_state
from services.store.repository.filters import QueryError, findings_query, time_span
from services.store.repository.findings import Findings
from services.store.repository.hosts import Hosts
from services.store.repository.incidents import Incidents
from services.store.search import Hit, Search

ENTRIES = ("event", "activity", "alert", "incident", "gap")
MOMENTS = (("began", "t0", None), ("ended", "t1", QUIET), ("acknowledged", "at", ACKNOWLEDGED))
"""Moments of incidents: name, field of the time, the state it needs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something at a time."""

    position: Position
    kind: str
    item: Any


class Timeline:
    """Merges what happened with what was found and what is missing."""

    def __init__(
        self, search: Search, findings: Findings, incidents: Incidents, hosts: Hosts
    ) -> None:
        """Read from these."""
        self._search, self._findings, self._hosts = search, findings, hosts
        self._incidents = incidents

    async def page(
        self, asked: pb.GetTimelineRequest, after: Position | None, limit: int
    ) -> pb.GetTimelineResponse:
        """Return the entries behind `after`.

        Raises:
            QueryError: a filter that cannot be asked for, or no such entries.
        """
        kinds = set(asked.entries) or set(ENTRIES)
        if not kinds <= set(ENTRIES):
            raise QueryError(f"entries: of {', '.join(ENTRIES)}")
        await self._search.wanted(asked.filter)  # refuses what cannot be asked for
        collector: Collector[Entry] = Collector(limit, asked.ascending, after)
        found: Page[Hit] = Page([], None)
        if "event" in kinds:
            found = await self._search.page(
                asked.filter,
                after,
                limit,
                ascending=asked.ascending,
                # A gap that is shown as such is not shown as an event as well.
                without="gap" if "gap" in kinds else "",
            )
            collector.more = found.next is not None
            collector.add(Entry(hit.position, "event", hit) for hit in found.entries)
        for kind in ("activity", "alert"):
            if kind in kinds:
                collector.add(await self._found(kind, asked, after, limit))
        if "incident" in kinds and not asked.filter.search:
            for name, field, state in MOMENTS:
                collector.add(await self._moments((name, field, state), asked, after, limit))
        if "gap" in kinds:
            collector.add(await self._gaps(asked, after, limit))
        page = collector.page()
        if found.cut_short and found.next is not None:
            page = collector.cut_at(found.next.time_ns)
        return await self._response(page)

    async def _found(
        self, kind: str, asked: pb.GetTimelineRequest, after: Position | None, limit: int
    ) -> list[Entry]:
        wanted = asked.filter
        query = await findings_query(
            pb.FindingFilter(
                hosts=wanted.hosts,
                herds=wanted.herds,
                users=wanted.users,
                services=wanted.services,
                from_time=wanted.from_time if wanted.HasField("from_time") else None,
                to_time=wanted.to_time if wanted.HasField("to_time") else None,
                search=wanted.search,
            ),
            self._hosts,
        )
        behind = _behind(f"{kind}:", "t", after, ascending=asked.ascending)
        both = {"$and": [query, behind]}
        rows, _ = await self._findings.page(kind, both, _order("t", asked), 0, limit + 1)
        return [Entry(Position(row["t"], f"{kind}:{row['_id']}"), kind, row) for row in rows]

    async def _moments(
        self,
        moment: tuple[str, str, str | None],
        asked: pb.GetTimelineRequest,
        after: Position | None,
        limit: int,
    ) -> list[Entry]:
        name, field, state = moment
        prefix = f"incident:{name}:"
        wanted = await conditions(asked.filter, self._hosts)
        wanted.append(_behind(prefix, field, after, ascending=asked.ascending))
        if state is not None:
            wanted.append(in_state(state, clock.wall_ns()))
        if span := time_span(asked.filter):
            wanted.append({field: span})
        rows = await self._incidents.page({"$and": wanted}, _order(field, asked), 0, limit + 1)
        return [
            Entry(Position(row[field], f"{prefix}{row['_id']}"), "incident", (name, row))
            for row in rows
        ]

    async def _gaps(
        self, asked: pb.GetTimelineRequest, after: Position | None, limit: int
    ) -> list[Entry]:
        query = _behind("gap:", "t0", after, ascending=asked.ascending)
        wanted: list[dict[str, Any]] = [query]
        if asked.filter.hosts:
            wanted.append({"h": {"$in": await naming.ids_of(asked.filter.hosts, self._hosts)}})
        if asked.filter.herds:
            ids = await self._hosts.ids_in("herd", list(asked.filter.herds))
            wanted.append({"h": {"$in": ids}})
        if span := time_span(asked.filter):
            wanted.append({"t0": span})
        rows = await self._hosts.gaps_in_order({"$and": wanted}, _order("t0", asked), limit + 1)
        return [Entry(Position(row["t0"], f"gap:{row['_id']}"), "gap", row) for row in rows]

    async def _response(self, page: Page[Entry]) -> pb.GetTimelineResponse:
        hits = [entry.item for entry in page.entries if entry.kind == "event"]
        records = iter(await self._search.records(hits))
        ids = {h for e in page.entries if e.kind in ("activity", "alert") for h in e.item["hosts"]}
        ids |= {entry.item["h"] for entry in page.entries if entry.kind == "gap"}
        ids |= {entry.item[1]["host"] for entry in page.entries if entry.kind == "incident"}
        hosts = await self._hosts.known(sorted(ids))
        response = pb.GetTimelineResponse(
            next_cursor=page.next.text() if page.next is not None else "",
            cut_short=page.cut_short,
        )
        for entry in page.entries:
            made = response.entries.add(time=clock.to_timestamp(entry.position.time_ns))
            if entry.kind == "event":
                made.event.CopyFrom(next(records))
            elif entry.kind == "gap":
                row = entry.item
                made.gap.CopyFrom(wire.gap(row, hosts.get(row["h"], {}).get("name") or ""))
            elif entry.kind == "incident":
                name, row = entry.item
                made.incident.moment = name
                host = hosts.get(row["host"], {})
                made.incident.incident.CopyFrom(wire.incident(row, host, clock.wall_ns()))
            elif entry.kind == "alert":
                made.alert.CopyFrom(wire.alert(entry.item, hosts))
            else:
                host = hosts.get(entry.item["hosts"][0], {})
                made.activity.CopyFrom(wire.activity(entry.item, host))
        return response


def _order(field: str, asked: pb.GetTimelineRequest) -> list[tuple[str, int]]:
    direction = 1 if asked.ascending else -1
    return [(field, direction), ("_id", direction)]


def _behind(prefix: str, field: str, after: Position | None, *, ascending: bool) -> dict[str, Any]:
    """Return the condition for documents behind `after`, whose keys are `prefix` and id."""
    if after is None:
        return {}
    past = "$gt" if ascending else "$lt"
    later: dict[str, Any] = {field: {past: after.time_ns}}
    if after.key.startswith(prefix):
        same = {field: after.time_ns, "_id": {past: after.key.removeprefix(prefix)}}
        return {"$or": [later, same]}
    if (prefix > after.key) == ascending:
        return {"$or": [later, {field: after.time_ns}]}
    return later
