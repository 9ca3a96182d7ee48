"""Activities (host forensics) and alerts (runtime host audits), as JSON pages and as CSV."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway import fields, filters, queries, render
from gateway.auth import reader
from gateway.filters import ACTIVITY_QUERY, ALERT_QUERY
from gateway.peers import DEADLINE_S, STREAM_S, Peers
from gateway.streams import csv_answer, json_answer
from nightherd.store.v1 import store_service_pb2 as pb

ALERT_FIELDS = (*fields.ALERT, *fields.ALERT_ELSEWHERE)

router = APIRouter(tags=["findings"], dependencies=[Depends(reader)])


@router.get(
    "/forensic/activities",
    openapi_extra=queries.parameters(ACTIVITY_QUERY, fields.rows(fields.ACTIVITY)),
)
async def list_activities(request: Request) -> Response:
    """Return security-relevant actions, newest first; `Total-Count` says how many match."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, ACTIVITY_QUERY, fields.ACTIVITY)
    asked = pb.ListActivitiesRequest(
        filter=filters.activities(question), paging=filters.page(question)
    )
    answer = await peers.store.ask(lambda stub: stub.ListActivities(asked, timeout=DEADLINE_S))
    rows = [question.project(render.activity(record)) for record in answer.activities]
    return json_answer(rows, answer.total_count)


@router.get(
    "/forensic/activities/download",
    openapi_extra=queries.parameters((*ACTIVITY_QUERY, "raw"), fields.file(fields.ACTIVITY)),
)
async def download_activities(request: Request) -> Response:
    """Return all matching activities as CSV, without a cap."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, (*ACTIVITY_QUERY, "raw"), fields.ACTIVITY)
    asked = pb.StreamActivitiesRequest(
        filter=filters.activities(question), paging=filters.whole(question)
    )

    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        answer = peers.store.parts(lambda stub: stub.StreamActivities(asked, timeout=STREAM_S))
        async for part in answer:
            yield [render.activity(record) for record in part.activities]

    columns = fields.columns(fields.ACTIVITY)
    return await csv_answer(parts(), columns, question, "host_activities.csv")


@router.get(
    "/audits/runtime/host",
    openapi_extra=queries.parameters(ALERT_QUERY, fields.rows(fields.ALERT)),
)
async def list_alerts(request: Request) -> Response:
    """Return alerts, newest first; `Total-Count` says how many match."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, ALERT_QUERY, ALERT_FIELDS)
    passes = filters.sieve(question)
    if passes is not None:
        rows, total = await _sieved_page(peers, question, passes)
        return json_answer([question.project(row) for row in rows], total)
    asked = pb.ListAlertsRequest(filter=filters.alerts(question), paging=filters.page(question))
    answer = await peers.store.ask(lambda stub: stub.ListAlerts(asked, timeout=DEADLINE_S))
    found = [question.project(render.alert(record)) for record in answer.alerts]
    return json_answer(found, answer.total_count)


@router.get(
    "/audits/runtime/host/download",
    openapi_extra=queries.parameters((*ALERT_QUERY, "raw"), fields.file(fields.ALERT)),
)
async def download_alerts(request: Request) -> Response:
    """Return all matching alerts as CSV, without a cap."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, (*ALERT_QUERY, "raw"), ALERT_FIELDS)
    passes = filters.sieve(question)
    paging = filters.whole(question)
    asked = pb.StreamAlertsRequest(filter=filters.alerts(question), paging=paging)
    if passes is not None:
        asked.paging.offset = asked.paging.limit = 0

    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        seen = 0
        async for rows in _alerts(peers, asked):
            kept = rows
            if passes is not None:
                matching = [row for row in rows if passes(row)]
                end = paging.offset + paging.limit if paging.limit else seen + len(matching)
                kept = matching[max(paging.offset - seen, 0) : max(end - seen, 0)]
                seen += len(matching)
            yield kept

    columns = fields.columns(fields.ALERT)
    return await csv_answer(parts(), columns, question, "host_audits.csv")


async def _alerts(
    peers: Peers, asked: pb.StreamAlertsRequest
) -> AsyncIterator[list[dict[str, Any]]]:
    async for part in peers.store.parts(lambda stub: stub.StreamAlerts(asked, timeout=STREAM_S)):
        yield [render.alert(record) for record in part.alerts]


async def _sieved_page(
    peers: Peers, question: queries.Question, passes: Callable[[Mapping[str, Any]], bool]
) -> tuple[list[dict[str, Any]], int]:
    """Return a page of alerts where the store cannot filter all that was asked for."""
    asked = pb.StreamAlertsRequest(filter=filters.alerts(question), paging=filters.order(question))
    offset, limit = question.number("offset", 0), question.limit()
    page: list[dict[str, Any]] = []
    total = 0
    async for rows in _alerts(peers, asked):
        for row in rows:
            if passes(row):
                if total >= offset and len(page) < limit:
                    page.append(row)
                total += 1
    return page, total
