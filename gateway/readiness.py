"""The gateway serves at once and says 503 until MongoDB has answered once."""

import asyncio
from typing import Any

import structlog

from chassis.mongo import Client, PyMongoError, until_reachable
from gateway.auth import Authentication
from gateway.repository import Repository

log = structlog.get_logger()
RETRY_S = 0.5


async def prepare(
    client: "Client[Any]", repository: Repository, authentication: Authentication
) -> None:
    """Make indexes, key and first user once MongoDB answers."""
    while not authentication.ready:
        await until_reachable(client, RETRY_S)
        try:
            await repository.prepare()
            await authentication.prepare()
        except (PyMongoError, OSError) as error:
            log.warning("preparing failed; trying again", error=str(error)[:200])
            await asyncio.sleep(RETRY_S)
    log.info("ready")
