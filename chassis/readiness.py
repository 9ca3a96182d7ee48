"""Health in step with MongoDB: a program that cannot reach its data says NOT_SERVING."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import structlog

from chassis.mongo import Client, PyMongoError, reachable
from chassis.server import Server

log = structlog.get_logger()
CHECK_S, RETRY_S = 5.0, 0.5


class Prepared(Protocol):
    """A part of a repository that wants its indexes before it is used."""

    async def prepare(self) -> None:
        """Make what is needed in MongoDB; harmless when it is there."""


async def serve_until(
    stop: Awaitable[None], server: Server, client: "Client[Any]", parts: Sequence[Prepared]
) -> None:
    """Keep `server`'s health in step with MongoDB until `stop`.

    Waits for MongoDB at the start instead of failing, prepares `parts` once it answers, and goes on
    by itself when it comes back after being away.
    """
    stopping = asyncio.ensure_future(stop)
    try:
        await _follow(stopping, server, client, parts)
    finally:
        stopping.cancel()
    log.info("draining")


async def _follow(
    stopping: "asyncio.Future[None]",
    server: Server,
    client: "Client[Any]",
    parts: Sequence[Prepared],
) -> None:
    prepared, was_ready = False, None
    while not stopping.done():
        is_ready = await reachable(client)
        if is_ready and not prepared:
            try:
                for part in parts:
                    await part.prepare()
                prepared = True
            except PyMongoError as error:
                log.warning("preparing MongoDB failed; trying again", error=str(error)[:200])
                is_ready = False
        if is_ready is not was_ready:
            write = log.info if is_ready else log.error
            write(
                "serving" if is_ready else "MongoDB does not answer: not serving", port=server.port
            )
            await server.ready(is_ready=is_ready)
            was_ready = is_ready
        await asyncio.wait({stopping}, timeout=CHECK_S if is_ready else RETRY_S)
