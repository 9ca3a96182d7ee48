"""HTTPS for people; the certificate follows renewals of its files."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import structlog
import uvicorn

log = structlog.get_logger()
MOST_HEAD_BYTES = 32 << 10


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever started us."""
        yield


def listening(listen: str) -> socket.socket:
    """Return a socket that listens on `listen` ("host:port"; port 0 picks one).

    Raises:
        OSError: the port is in use or not ours.
        ValueError: it names no port.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    try:
        return socket.create_server(
            (host, int(port)),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=256,
        )
    except OSError as error:
        raise OSError(f"cannot listen on {listen}: {error.strerror}") from None


@contextlib.asynccontextmanager
async def serving(
    app: Any, sock: socket.socket, certificate: tuple[Path, Path], *, drain_s: float, check_s: float
) -> AsyncIterator[None]:
    """Serve `app` on `sock` inside the block; at its end requests in flight may finish.

    Raises:
        OSError: certificate or key cannot be read or do not belong together.
    """
    # What it says, the middleware says in one line.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        ssl_certfile=str(certificate[0]),
        ssl_keyfile=str(certificate[1]),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        limit_concurrency=500,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    config.load()
    context = config.ssl
    if context is None:
        raise OSError("HTTPS needs a certificate")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    server = _Server(config)
    running = asyncio.create_task(server.serve([sock]))
    following = asyncio.create_task(_follow(context, certificate, check_s))
    try:
        yield
    finally:
        following.cancel()
        server.should_exit = True
        await running


async def _follow(context: ssl.SSLContext, certificate: tuple[Path, Path], check_s: float) -> None:
    """Give new connections the certificate in force."""
    seen = _stamp(certificate)
    while True:
        await asyncio.sleep(check_s)
        now = _stamp(certificate)
        if now == seen:
            continue
        try:
            context.load_cert_chain(*certificate)
        except (OSError, ssl.SSLError) as error:  # half-way through a renewal
            log.warning("certificate not reloaded; trying again", error=str(error))
            continue
        seen = now
        log.info("certificate reloaded")


def _stamp(files: tuple[Path, Path]) -> tuple[tuple[int, int], ...]:
    with contextlib.suppress(OSError):
        found = [path.stat() for path in files]
        return tuple((status.st_mtime_ns, status.st_ino) for status in found)
    return ()
