"""The one place where a refusal becomes an HTTP answer (RFC 9457, problem+json)."""

import json

import structlog
from fastapi import FastAPI, Request
from grpc import StatusCode
from starlette.exceptions import HTTPException
from starlette.responses import Response

from chassis.counters import Counter
from chassis.errors import NightherdError
from chassis.text import show
from enrolment.errors import TooOftenError

log = structlog.get_logger()
refusals = Counter("nightherd_enrolment_refusals", "Requests that were refused", ["reason"])
_STATUS = {
    StatusCode.INVALID_ARGUMENT: (400, "The request cannot be answered as it is"),
    StatusCode.PERMISSION_DENIED: (403, "No certificate is given"),
    StatusCode.DEADLINE_EXCEEDED: (408, "The request took too long"),
    StatusCode.FAILED_PRECONDITION: (409, "Conflicts with the current state"),
    StatusCode.OUT_OF_RANGE: (413, "Too large"),
    StatusCode.RESOURCE_EXHAUSTED: (429, "Too many requests"),
}
_MOST_DETAIL = 500


def problem(
    status: int,
    title: str,
    detail: str = "",
    reason: str = "",
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a problem+json answer."""
    body = {"type": "about:blank", "title": title, "status": status}
    if detail:
        body["detail"] = show(detail[:_MOST_DETAIL])
    if reason:
        body["reason"] = reason
    return Response(json.dumps(body), status, headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem; each refusal is one log line."""

    @app.exception_handler(NightherdError)
    async def _refused(request: Request, error: NightherdError) -> Response:
        status, title = _STATUS.get(error.code, (500, "An error on our side"))
        refusals.labels(error.reason).inc()
        more = dict(error.metadata)
        retry = {"Retry-After": more.pop("retry_s")} if "retry_s" in more else None
        # Who asks too often must not fill the disk with it; it is counted.
        write = log.debug if isinstance(error, TooOftenError) else log.warning
        write(
            "refused",
            path=show(request.url.path[:100]),
            host=show(more.get("host", "")[:64]),
            reason=error.reason,
            why=show(str(error)[:_MOST_DETAIL]),
            address=request.client.host if request.client else "",
        )
        return problem(status, title, str(error), error.reason, retry)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(OSError)
    async def _files(_: Request, error: OSError) -> Response:
        log.error("the authority's folder cannot be used", error=str(error)[:200])
        return problem(503, "The authority cannot work now", headers={"Retry-After": "60"})

    @app.exception_handler(Exception)
    async def _bug(_: Request, error: Exception) -> Response:
        log.error("bug", exc_info=error)
        return problem(500, "An error on our side", "The log has more")
