"""What was done through the API: logins and changes."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from chassis import clock
from chassis.text import show
from gateway import fields, queries
from gateway.auth import overseer
from gateway.problems import ProblemError
from gateway.queries import PAGING, Question
from gateway.repository import Deed, DeedQuery, Repository
from gateway.streams import csv_answer, json_answer

router = APIRouter(tags=["management audits"], dependencies=[Depends(overseer)])
MGMT_QUERY = (*PAGING, "from", "to", "type", "username")
# The contract's words; of these we have deeds of login, profile and settings.
_TYPES = ("login", "profile", "settings", "rule", "user", "group", "credential", "tag", "role")
_REFUSED = 400


def _query(question: Question) -> DeedQuery:
    if question.last("sort") not in ("", "time"):
        raise ProblemError(400, "sort: time")
    not_before, not_after = question.time("from"), question.time("to")
    return DeedQuery(
        tuple(question.words("type", {kind: kind for kind in _TYPES})),
        tuple(question.all("username")),
        not_before.ToDatetime(dt.UTC) if not_before is not None else None,
        not_after.ToDatetime(dt.UTC) if not_after is not None else None,
        question.last("search"),
    )


def _oldest_first(question: Question) -> bool:
    return question.last("sort") == "time" and not question.flag("reverse")


def _row(time: dt.datetime, deed: Deed) -> dict[str, Any]:
    failure = deed.status >= _REFUSED
    if deed.type == "login" and not deed.diff:
        status = "failed login attempt" if failure else "successful login attempt"
    else:
        status = f"refused ({deed.status})" if failure else "done"
    return {
        "time": clock.rfc3339(round(time.timestamp() * 1000) * 1_000_000),
        "username": show(deed.username),
        "type": deed.type,
        "sourceIP": show(deed.source_ip),
        "api": show(deed.api),
        "status": status,
        "failure": failure,
        "diff": show(deed.diff),
    }


@router.get("/audits/mgmt", openapi_extra=queries.parameters(MGMT_QUERY, fields.rows(fields.DEED)))
async def list_deeds(request: Request) -> Response:
    """Return logins and changes made through the API, newest first."""
    repository: Repository = request.app.state.repository
    question = queries.read(request, MGMT_QUERY, fields.DEED)
    query = _query(question)
    found = repository.deeds(
        query,
        question.number("offset", 0),
        question.limit(),
        oldest_first=_oldest_first(question),
    )
    rows = [question.project(_row(time, deed)) async for time, deed in found]
    return json_answer(rows, await repository.count_deeds(query))


@router.get(
    "/audits/mgmt/download",
    openapi_extra=queries.parameters((*MGMT_QUERY, "raw"), fields.file(fields.DEED)),
)
async def download_deeds(request: Request) -> Response:
    """Return logins and changes made through the API as CSV."""
    repository: Repository = request.app.state.repository
    question = queries.read(request, (*MGMT_QUERY, "raw"), fields.DEED)
    found = repository.deeds(
        _query(question),
        question.number("offset", 0),
        question.number("limit", 0),
        oldest_first=_oldest_first(question),
    )

    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        async for time, deed in found:
            yield [_row(time, deed)]

    return await csv_answer(parts(), fields.columns(fields.DEED), question, "mgmt_audits.csv")


@router.get("/audits/mgmt/filters", openapi_extra=queries.parameters(MGMT_QUERY))
async def filters(request: Request) -> Response:
    """Return which types and users can be filtered by."""
    repository: Repository = request.app.state.repository
    queries.read(request, MGMT_QUERY, fields.DEED)
    names = [show(name) for name in await repository.deed_usernames()]
    return json_answer({"type": ["login", "profile", "settings"], "username": names})
