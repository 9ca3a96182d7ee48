"""The one place where what goes wrong becomes an HTTP answer (RFC 9457, problem+json)."""

import grpc
import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from chassis.errors import NightherdError
from chassis.mongo import PyMongoError

log = structlog.get_logger()
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_TITLES = {
    400: "The request cannot be answered as it is",
    401: "Who are you?",
    403: "This is not yours to do",
    404: "There is no such thing",
    405: "Not in this way",
    409: "Not as things stand",
    413: "Too large",
    429: "Too much",
    500: "An error on our side",
    503: "Something this needs does not answer",
    504: "It took too long",
}
RETRY_S = "2"


class ProblemError(Exception):
    """A refusal with an HTTP status, for what has no gRPC status of its own."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """Say what is wrong and what to do about it."""
        super().__init__(detail)
        self.status, self.headers = status, headers


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return a problem+json answer."""
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status}
    if detail:
        body["detail"] = detail
    extra = dict(headers or {})
    if status == 401:  # noqa: PLR2004
        extra.setdefault("WWW-Authenticate", 'Basic realm="nightherd", charset="UTF-8"')
    if status in (503, 504):
        extra.setdefault("Retry-After", RETRY_S)
    return Response(orjson.dumps(body), status, extra, "application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""

    @app.exception_handler(ProblemError)
    async def _problem(_: Request, error: ProblemError) -> Response:
        headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
        return problem(error.status, str(error), headers)

    @app.exception_handler(NightherdError)
    async def _nightherd(_: Request, error: NightherdError) -> Response:
        return problem(_STATUS.get(error.code, 500), str(error))

    @app.exception_handler(grpc.aio.AioRpcError)
    async def _rpc(request: Request, error: grpc.aio.AioRpcError) -> Response:
        status = _STATUS.get(error.code(), 500)
        if status >= 500:  # noqa: PLR2004
            log.warning(
                "peer failed", path=request.url.path, code=error.code().name, why=error.details()
            )
            if status in (503, 504):
                return problem(status, "A service behind the gateway does not answer; try again.")
            return problem(status, "")
        return problem(status, error.details() or "")

    @app.exception_handler(PyMongoError)
    async def _mongo(request: Request, error: PyMongoError) -> Response:
        log.warning("MongoDB failed", path=request.url.path, error=str(error)[:200])
        return problem(503, "The gateway's database does not answer; try again.")

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return problem(400, f"{where}: {first['msg']}" if where else str(first["msg"]))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, "", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        log.error("bug", path=request.url.path, exc_info=error)
        return problem(500, "")
