"""Questions about events: pages, counts, the timeline, and the processes around one."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from chassis import clock
from gateway import event_filters, fields, queries, render_events
from gateway.auth import reader
from gateway.event_filters import EVENT_FILTER
from gateway.peers import DEADLINE_S, Peers
from gateway.problems import ProblemError
from gateway.queries import Question
from gateway.routes.evidence import host_id_of
from gateway.streams import json_answer
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(prefix="/nightherd", tags=["nightherd"], dependencies=[Depends(reader)])

AROUND = ("around", "seconds")
PAGED = ("limit", "cursor", "order", "fields")
EVENT_QUERY = (*EVENT_FILTER, *AROUND, *PAGED)
SUMMARY_QUERY = (*EVENT_FILTER, *AROUND, "facet", "top", "slice")
TIMELINE_QUERY = (*EVENT_FILTER, *AROUND, *PAGED, "entry")
TREE_QUERY = ("host", "execID", "seconds")
ORDERS = {"newest": False, "oldest": True}
ENTRIES = ("event", "activity", "alert", "incident", "gap")
FACETS = {
    **{name: name for name in ("host", "herd", "kind", "user", "service", "path")},
    "effectiveUser": "effective_user",
    "sessionID": "session",
    "processPath": "executable",
}
AROUND_S, MOST_AROUND_S = 60, 86_400


@router.get("/events", openapi_extra=queries.parameters(EVENT_QUERY, fields.pages(fields.EVENT)))
async def list_events(request: Request) -> Response:
    """Return events, newest first; `Next-Cursor` (as `cursor`) leads to the next page.

    Pages neither skip nor repeat while events arrive. A page may have fewer rows than asked for
    and still a `Next-Cursor`. `around` and `seconds` ask for what happened near a moment.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, EVENT_QUERY, fields.EVENT)
    asked = pb.SearchEventsRequest(
        filter=_filter(question),
        limit=question.limit(),
        cursor=question.last("cursor"),
        ascending=_ascending(question),
    )
    answer = await peers.store.ask(lambda stub: stub.SearchEvents(asked, timeout=DEADLINE_S))
    rows = [question.project(render_events.event(record)) for record in answer.events]
    return json_answer(rows, cursor=answer.next_cursor)


@router.get("/events/summary", openapi_extra=queries.parameters(SUMMARY_QUERY))
async def summarise_events(request: Request) -> Response:
    """Return how many events match: `total`, `facets` with their top values, `slices` of time.

    `complete` false says that the counts are lower bounds. `slice` is in seconds, by whole minutes.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, SUMMARY_QUERY)
    asked = pb.SummariseEventsRequest(
        filter=_filter(question),
        facets=question.words("facet", FACETS),
        top=question.number("top", 0),
        slice_seconds=question.number("slice", 0),
    )
    answer = await peers.store.ask(lambda stub: stub.SummariseEvents(asked, timeout=DEADLINE_S))
    return json_answer(render_events.summary(answer, question.all("facet")))


@router.get(
    "/timeline", openapi_extra=queries.parameters(TIMELINE_QUERY, fields.pages(fields.TIMELINE))
)
async def timeline(request: Request) -> Response:
    """Return events, activities, alerts, incidents and gaps in one order, each in a sentence."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, TIMELINE_QUERY, fields.TIMELINE)
    asked = pb.GetTimelineRequest(
        filter=_filter(question),
        entries=question.words("entry", {name: name for name in ENTRIES}),
        limit=question.limit(),
        cursor=question.last("cursor"),
        ascending=_ascending(question),
    )
    answer = await peers.store.ask(lambda stub: stub.GetTimeline(asked, timeout=DEADLINE_S))
    rows = [question.project(render_events.entry(each)) for each in answer.entries]
    return json_answer(rows, cursor=answer.next_cursor)


@router.get("/tree", openapi_extra=queries.parameters(TREE_QUERY))
async def tree(request: Request) -> Response:
    """Return the processes around one: above, below, beside it, and what each did.

    `host` and `execID` name it; `seconds` is how far before and after it began to look.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, TREE_QUERY)
    if not question.last("execID"):
        raise ProblemError(400, "execID: say which process")
    asked = pb.GetProcessTreeRequest(
        host_id=await host_id_of(peers, question.last("host")),
        exec_id=question.last("execID"),
        around_seconds=question.number("seconds", 0),
    )
    answer = await peers.store.ask(lambda stub: stub.GetProcessTree(asked, timeout=DEADLINE_S))
    nodes = [render_events.node(node) for node in answer.nodes]
    return json_answer({"complete": answer.complete, "processes": nodes})


def _ascending(question: Question) -> bool:
    return any(question.words("order", ORDERS)[-1:])


def _filter(question: Question) -> pb.EventFilter:
    asked = event_filters.events_filter(question)
    moment = question.time("around")
    if moment is None:
        if question.last("seconds"):
            raise ProblemError(400, "seconds: how far from which moment? Say around, too")
        return asked
    if question.last("from") or question.last("to"):
        raise ProblemError(400, "around: either around, or from and to")
    seconds = question.number("seconds", AROUND_S)
    if seconds > MOST_AROUND_S:
        raise ProblemError(400, f"seconds: at most {MOST_AROUND_S}")
    middle, margin = clock.from_timestamp(moment), seconds * clock.NS
    asked.from_time.CopyFrom(clock.to_timestamp(middle - margin))
    asked.to_time.CopyFrom(clock.to_timestamp(middle + margin))
    return asked
