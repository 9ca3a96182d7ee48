"""Around every request: bounded size, security headers, and a record of what was changed."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from gateway.problems import problem
from gateway.repository import Deed, Repository

log = structlog.get_logger()
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_BODY_BYTES = 64 << 10
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=31536000"),
]


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
        status = 0
        received = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BODY_BYTES:
                raise TooLargeError
            return message

        try:
            await self._app(scope, receiving, sending)
        except TooLargeError:
            if status == 0:
                detail = f"A body may have {MOST_BODY_BYTES} bytes"
                await problem(413, detail)(scope, receive, sending)
        finally:
            await self._write_down(scope, status)

    async def _write_down(self, scope: Any, status: int) -> None:
        """Record every request that changes something, refused or not."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"].endswith("/authenticate"):
            return
        caller = scope.get("state", {}).get("caller")
        client = scope.get("client")
        deed = Deed(
            username=caller.name if caller is not None else "",
            type="change",
            source_ip=client[0] if client else "",
            api=f"{scope['method']} {scope['path']}",
            status=status,
        )
        try:
            await self._repository.record(deed)
        except Exception:
            log.exception("deed not recorded", api=deed.api, username=deed.username)


class TooLargeError(Exception):
    """A request's body is above the limit."""
