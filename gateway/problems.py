"""The one place where what goes wrong becomes an HTTP answer (RFC 9457, problem+json)."""

from http import HTTPStatus

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from grpc import StatusCode
from starlette.exceptions import HTTPException
from starlette.responses import Response

from chassis.errors import NightherdError
from chassis.mongo import PyMongoError
from chassis.text import show

log = structlog.get_logger()

_STATUS = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNAVAILABLE: 503,
    # How an overloaded or ending server looks to its clients.
    StatusCode.CANCELLED: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
_TITLES = {
    400: "The request cannot be answered as it is",
    401: "Authentication required",
    403: "You are not allowed to do this",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflicts with the current state",
    413: "Too large",
    429: "Too many requests",
    500: "An error on our side",
    502: "Something this needs failed",
    503: "Something this needs does not answer",
    504: "The request took too long",
}
_RETRY_S = "2"
# Room for the names of all fields, when one of them is misspelt.
_MOST_DETAIL = 1500


class ProblemError(Exception):
    """A refusal with an HTTP status, for what has no gRPC status of its own."""

    def __init__(self, status: int, detail: str, *, reason: str = "", **headers: str) -> None:
        """Say what is wrong and what to do about it; clients may switch on `reason`."""
        super().__init__(detail)
        self.status, self.reason, self.headers = status, reason, headers


class PeerError(Exception):
    """A service behind the gateway refused, or did not answer."""

    def __init__(self, peer: str, code: StatusCode, detail: str, reason: str) -> None:
        """Keep which one and how it said so."""
        super().__init__(f"{peer}: {code.name}")
        self.peer, self.code, self.detail, self.reason = peer, code, detail, reason

    def status(self) -> int:
        """Return the HTTP status it becomes."""
        return _STATUS.get(self.code, HTTPStatus.BAD_GATEWAY)

    def sentence(self) -> str:
        """Return what a client may know: refusals as they are, failures only by name."""
        status = self.status()
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return self.detail
        if status == HTTPStatus.GATEWAY_TIMEOUT:
            return f"The {self.peer} did not answer in time; try again, or ask for less"
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return f"The {self.peer} does not answer; try again"
        return f"The {self.peer} failed; its log has more"


class BrokenOffError(Exception):
    """An answer that had begun cannot be finished; the connection ends without its end."""


def problem(
    status: int, detail: str, headers: dict[str, str] | None = None, **more: str
) -> Response:
    """Return a problem+json answer."""
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        **{name: text for name, text in more.items() if text},
    }
    if detail:
        # It may quote what was sent.
        body["detail"] = show(detail[:_MOST_DETAIL])
    extra = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        extra.setdefault("WWW-Authenticate", 'Basic realm="nightherd", charset="UTF-8"')
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        extra.setdefault("Retry-After", _RETRY_S)
    return Response(orjson.dumps(body), status, extra, "application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""

    @app.exception_handler(ProblemError)
    async def _problem(_: Request, error: ProblemError) -> Response:
        headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
        return problem(error.status, str(error), headers, reason=error.reason)

    @app.exception_handler(NightherdError)
    async def _nightherd(_: Request, error: NightherdError) -> Response:
        return problem(_STATUS.get(error.code, 500), str(error), reason=error.reason)

    @app.exception_handler(PeerError)
    async def _peer(_: Request, error: PeerError) -> Response:
        status = error.status()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("peer failed", peer=error.peer, code=error.code.name, why=error.detail)
        return problem(status, error.sentence(), peer=error.peer, reason=error.reason)

    @app.exception_handler(PyMongoError)
    async def _mongo(_: Request, error: PyMongoError) -> Response:
        log.warning("MongoDB failed", error=str(error)[:200])
        return problem(503, "The gateway's database does not answer; try again", peer="mongodb")

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return problem(400, f"{where}: {first['msg']}" if where else str(first["msg"]))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, "", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _bug(_: Request, error: Exception) -> Response:
        if not isinstance(error, BrokenOffError):  # the request's log line says so
            log.error("bug", exc_info=error)
        return problem(500, "The log has more")
