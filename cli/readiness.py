"""Whether programs do their work: only asking tells."""

import asyncio
import ssl
import urllib.request
from pathlib import Path

from chassis.channel import open_channel
from chassis.tls import Identity
from cli.errors import UpError
from cli.homes import Home

MONGO_S = 10.0
ANSWER_S = 10.0
"""Of one answer, a TLS handshake included, on the slowest of hosts."""


async def serving(tls: Path, address: str, name: str) -> bool:
    """Whether the service `name` at `address` says that it serves."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    credentials = Identity(tls).channel_credentials()
    channel = open_channel(address, credentials, name)
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=ANSWER_S
        )
    except grpc.aio.AioRpcError:
        return False
    finally:
        await channel.close()
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def until_mongo_answers(url: str) -> None:
    """Wait for a MongoDB of somebody else's.

    Raises:
        UpError: it does not answer. The URL is not printed: it may hold a password.
    """
    from chassis import mongo

    try:
        async with asyncio.timeout(MONGO_S):
            while not await mongo_answers(url):  # noqa: ASYNC110  (only asking tells)
                await asyncio.sleep(0.2)
    except (mongo.PyMongoError, ValueError) as error:
        raise UpError(f"NIGHTHERD_MONGO_URL cannot be used: {error}") from None
    except TimeoutError:
        raise UpError(
            f"the MongoDB of NIGHTHERD_MONGO_URL does not answer within {MONGO_S:.0f} s"
        ) from None


async def mongo_answers(url: str) -> bool:
    """Whether the MongoDB at `url` answers now."""
    from chassis import mongo

    client = mongo.connect(url)
    try:
        return await mongo.reachable(client)
    finally:
        client.close()


def gateway_answers(home: Home, port: int) -> bool:
    """Whether the gateway answers on `port`."""
    return _answers(home, port, "/api/v1/_ping")


def enrolment_answers(home: Home, port: int) -> bool:
    """Whether the enrolment program answers on `port`."""
    return _answers(home, port, "/v1/authority")


def _answers(home: Home, port: int, path: str) -> bool:
    try:
        context = ssl.create_default_context(cafile=str(home.ca / "ca.pem"))
        with urllib.request.urlopen(
            f"https://localhost:{port}{path}", timeout=ANSWER_S, context=context
        ) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False
