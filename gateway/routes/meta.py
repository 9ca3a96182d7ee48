"""Whether the gateway is there, which version it is, and what was done through it."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from chassis import clock
from chassis.text import show
from gateway import queries
from gateway.auth import reader
from gateway.problems import ProblemError
from gateway.queries import PAGING
from gateway.streams import json_answer

router = APIRouter(tags=["meta"])
MGMT_QUERY = (*PAGING, "from", "to", "type", "username")
DEED_TYPES = ("login", "change")


@router.get("/_ping")
async def ping() -> Response:
    """Answer OK; no credentials needed."""
    return Response(b"OK", media_type="text/plain")


@router.get("/version", dependencies=[Depends(reader)])
async def version() -> Response:
    """Return the version."""
    try:
        found = installed_version("nightherd")
    except PackageNotFoundError:
        found = "0.1.0+checkout"
    return json_answer(found)


@router.get(
    "/audits/mgmt",
    openapi_extra=queries.parameters(MGMT_QUERY),
    dependencies=[Depends(reader)],
)
async def deeds(request: Request) -> Response:
    """Return logins and changes made through the API, newest first."""
    question = queries.read(request, MGMT_QUERY)
    paging = queries.paging(question)
    query: dict[str, Any] = {}
    kinds = question.all("type")
    if any(kind not in DEED_TYPES for kind in kinds):
        raise ProblemError(400, f"type: one of {', '.join(DEED_TYPES)}")
    if kinds:
        query["type"] = {"$in": kinds}
    if question.all("username"):
        query["username"] = {"$in": question.all("username")}
    span = {
        operator: moment.ToDatetime()
        for operator, name in (("$gte", "from"), ("$lte", "to"))
        if (moment := question.time(name)) is not None
    }
    if span:
        query["time"] = span
    rows, total = await request.app.state.repository.deeds(
        query, paging.offset, paging.limit, oldest_first=paging.ascending
    )
    shown = [
        {
            **{name: show(value) for name, value in row.items() if isinstance(value, str)},
            "time": clock.rfc3339(int(row["time"].timestamp() * 1000) * 1_000_000),
            "status": row["status"],
            "failure": row["status"] >= 400,  # noqa: PLR2004
        }
        for row in rows
    ]
    return json_answer([queries.project(row, question) for row in shown], total)
