"""Activities (host forensics) and alerts (runtime host audits), as JSON pages and as CSV."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway import queries, render
from gateway.auth import reader
from gateway.peers import DEADLINE_S, Peers
from gateway.queries import PAGING
from gateway.streams import ExactType, csv_lines, first_of, json_answer
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(tags=["findings"], dependencies=[Depends(reader)])

_OURS = ("herd", "interactive")
ACTIVITY_QUERY = (*PAGING, "from", "to", "type", "user", "hostname", "service", "cluster", *_OURS)
ALERT_QUERY = (
    *PAGING,
    *("profileID", "from", "to", "time", "imageName", "container", "containerID", "ruleName"),
    *("type", "effect", "user", "os", "namespace", "cluster", "attackType", "hostname", "msg"),
    *("interactive", "function", "region", "runtime", "attackTechniques", "app", "processPath"),
    *("requestID", "functionID", "aggregate", "provider", "resourceIDs", "appID"),
    *("herd", "service", "id"),
)
ACTIVITY_COLUMNS = (
    *("time", "hostname", "user", "type", "command", "interactive", "modifiedFiles", "service"),
    *(
        "affectedServices",
        "ruleName",
        "accountID",
        "cluster",
        "id",
        "hostID",
        "herd",
        "pid",
        "ppid",
    ),
    *("effectiveUser", "sessionID", "terminal", "sourceAddress", "provenance", "processPath"),
    *("ancestors", "attribution", "maintenance", "wouldAlert", "modelRevision"),
)
ALERT_COLUMNS = (
    *("time", "hostname", "user", "type", "attackType", "severity", "effect", "ruleName", "msg"),
    *("app", "processPath", "command", "interactive", "count", "os", "attackTechniques"),
    *(
        "accountID",
        "cluster",
        "region",
        "port",
        "ip",
        "_id",
        "firstTime",
        "hosts",
        "hostID",
        "herd",
    ),
    *("pid", "ppid", "effectiveUser", "sessionID", "terminal", "sourceAddress", "provenance"),
    *("ancestors", "attribution", "modifiedFiles", "accounts", "activityID", "deviation"),
    *("expected", "modelRevision"),
)


def _peers(request: Request) -> Peers:
    peers: Peers = request.app.state.peers
    return peers


@router.get("/forensic/activities", openapi_extra=queries.parameters(ACTIVITY_QUERY))
async def list_activities(request: Request) -> Response:
    """Return security-relevant actions, newest first; `Total-Count` says how many match."""
    question = queries.read(request, ACTIVITY_QUERY)
    answer = await _peers(request).store.ListActivities(
        pb.ListActivitiesRequest(
            filter=queries.activities(question), paging=queries.paging(question)
        ),
        timeout=DEADLINE_S,
    )
    rows = [queries.project(render.activity(record), question) for record in answer.activities]
    return json_answer(rows, answer.total_count)


@router.get(
    "/forensic/activities/download", openapi_extra=queries.parameters((*ACTIVITY_QUERY, "raw"))
)
async def download_activities(request: Request) -> Response:
    """Return all matching activities as CSV, without a cap."""
    question = queries.read(request, (*ACTIVITY_QUERY, "raw"))
    asked = pb.StreamActivitiesRequest(filter=queries.activities(question), paging=_whole(question))
    call = _peers(request).store.StreamActivities(asked)
    parts = _parts(call, lambda part: part.activities)
    return await _csv(question, parts, ACTIVITY_COLUMNS, render.activity, "host_activities.csv")


@router.get("/audits/runtime/host", openapi_extra=queries.parameters(ALERT_QUERY))
async def list_alerts(request: Request) -> Response:
    """Return alerts, newest first; `Total-Count` says how many match."""
    question = queries.read(request, ALERT_QUERY)
    answer = await _peers(request).store.ListAlerts(
        pb.ListAlertsRequest(filter=queries.alerts(question), paging=queries.paging(question)),
        timeout=DEADLINE_S,
    )
    rows = [queries.project(render.alert(record), question) for record in answer.alerts]
    return json_answer(rows, answer.total_count)


@router.get(
    "/audits/runtime/host/download", openapi_extra=queries.parameters((*ALERT_QUERY, "raw"))
)
async def download_alerts(request: Request) -> Response:
    """Return all matching alerts as CSV, without a cap."""
    question = queries.read(request, (*ALERT_QUERY, "raw"))
    asked = pb.StreamAlertsRequest(filter=queries.alerts(question), paging=_whole(question))
    call = _peers(request).store.StreamAlerts(asked)
    parts = _parts(call, lambda part: part.alerts)
    return await _csv(question, parts, ALERT_COLUMNS, render.alert, "host_audits.csv")


def _whole(question: queries.Question) -> pb.Paging:
    """Paging of a download: everything, unless a limit is asked for."""
    paging = queries.paging(question)
    paging.limit = question.number("limit", 0, 2**31 - 1)
    return paging


async def _parts(
    call: Any, records: Callable[[Any], Sequence[Any]]
) -> AsyncIterator[Sequence[Any]]:
    async for part in call:
        yield records(part)


async def _csv(
    question: queries.Question,
    parts: AsyncIterator[Sequence[Any]],
    columns: Sequence[str],
    row_of: Callable[[Any], dict[str, Any]],
    file_name: str,
) -> Response:
    wanted = [part for value in question.all("fields") for part in value.split(",")]
    shown = [column for column in columns if column in wanted] or list(columns)
    lines = csv_lines(await first_of(parts), shown, row_of, raw=question.flag("raw") or False)
    return ExactType(lines, "text/csv", file_name)
