"""Around every request: bounded size, security headers, one log line, a record of changes."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from chassis.counters import Counter
from chassis.mongo import PyMongoError
from chassis.text import show
from gateway.problems import BrokenOffError, problem
from gateway.repository import Deed, Repository

log = structlog.get_logger()
requests_total = Counter(
    "nightherd_gateway_requests", "Requests that were answered", ["method", "route", "status"]
)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_BODY_BYTES = 64 << 10
_READING = ("GET", "HEAD", "OPTIONS")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=31536000"),
]


class TooLargeError(Exception):
    """A request's body is above the limit."""


class Guard:
    """A pure ASGI middleware; bodies above the limit are refused as they come."""

    def __init__(self, app: Any, repository: Repository) -> None:
        """Guard `app`."""
        self._app, self._repository = app, repository

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, received = time.perf_counter(), 0, 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
                # Written down before anybody hears that it was done.
                await self._write_down(scope, status)
            await send(message)

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BODY_BYTES:
                raise TooLargeError
            return message

        broken = ""
        try:
            await self._app(scope, receiving, sending)
        except TooLargeError:
            detail = f"A body may have {MOST_BODY_BYTES} bytes"
            await problem(413, detail)(scope, receive, sending)
        except BrokenOffError as error:
            broken = str(error)
            raise
        finally:
            _tell(scope, status, round((time.perf_counter() - started) * 1000, 2), broken)

    async def _write_down(self, scope: Any, status: int) -> None:
        """Record what a known user changed or tried to change."""
        state = scope.get("state", {})
        user = state.get("user")
        if user is None or scope["method"] in _READING:
            return
        kind, diff = state.get("deed", ("settings", ""))
        client = scope.get("client")
        api = f"{scope['method']} {scope['path']}"
        deed = Deed(user.name, kind, client[0] if client else "", api, status, diff)
        try:
            await self._repository.record(deed)
        except PyMongoError as error:
            log.error("deed not recorded", deed=deed, error=str(error)[:200])  # noqa: TRY400


def _tell(scope: Any, status: int, ms: float, broken: str) -> None:
    route = getattr(scope.get("route"), "path", "none")
    user = scope.get("state", {}).get("user")
    requests_total.labels(scope["method"], route, str(status)).inc()
    fields: dict[str, Any] = {"broken": broken} if broken else {}
    write = log.debug if route.endswith("/_ping") else log.info
    write(
        "request",
        method=scope["method"],
        path=show(scope["path"][:200]),
        status=status,
        ms=ms,
        user=user.name if user is not None else "",
        **fields,
    )
