"""A real store over a real mongod, with mTLS."""

import asyncio
import contextlib
import secrets

import pytest

from chassis import mongo
from chassis.channel import Channel
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.store.__main__ import serve
from services.store.settings import Settings


class RunningStore:
    def __init__(self, port: int, database, stub) -> None:
        self.address, self.database, self.stub = f"127.0.0.1:{port}", database, stub


@pytest.fixture
async def store(mongo_url, tls, free_port):
    name = f"store_{secrets.token_hex(4)}"
    settings = Settings(
        listen=f"127.0.0.1:{free_port}",
        tls_dir=tls.folder("store"),
        NIGHTHERD_MONGO_URL=mongo_url,
        database=name,
        drain_seconds=0.2,
    )
    task = asyncio.create_task(serve(settings))
    client = mongo.connect(mongo_url)
    channel = Channel(f"127.0.0.1:{free_port}", tls.identity("gateway"), "store")
    from tests.services_client import until_serving

    await until_serving(channel.get())
    yield RunningStore(free_port, client[name], StoreServiceStub(channel.get()))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await channel.close()
    await client.drop_database(name)
    client.close()


@pytest.fixture
async def detector(store, tls):
    channel = Channel(store.address, tls.identity("detector"), "store")
    yield StoreServiceStub(channel.get())
    await channel.close()
