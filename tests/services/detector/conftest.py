"""The real detector beside the real store and modeler, over a real mongod, with mTLS."""

import asyncio
import contextlib
import secrets

import pytest

from chassis import mongo
from chassis.channel import Channel
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.detector import __main__ as detector
from services.detector.settings import Settings as DetectorSettings
from services.modeler import __main__ as modeler
from services.modeler.settings import Settings as ModelerSettings
from services.store import __main__ as store
from services.store.settings import Settings as StoreSettings
from tests.ports import free_port
from tests.services_client import until_serving

PROGRAMS = {
    "store": (store, StoreSettings),
    "modeler": (modeler, ModelerSettings),
    "detector": (detector, DetectorSettings),
}


class Backend:
    """Three services that a test starts and stops as it likes; addresses are fixed."""

    def __init__(self, mongo_url, tls, mark) -> None:
        self.mongo_url, self.tls, self.mark = mongo_url, tls, mark
        self.address = {name: f"127.0.0.1:{free_port()}" for name in PROGRAMS}
        self._tasks, self._channels = {}, []
        self.folders = {name: tls.folder(name) for name in PROGRAMS}
        self.stub = StoreServiceStub(self.channel("store"))
        self.models = ModelerServiceStub(self.channel("modeler"))

    def database(self, name):
        return f"{name}_{self.mark}"

    def channel(self, name):
        self._channels.append(Channel(self.address[name], self.tls.identity("gateway"), name))
        return self._channels[-1].get()

    async def start(self, *names, serving=True) -> None:
        for name in names:
            module, settings = PROGRAMS[name]
            peers = {"store": self.address["store"], "modeler": self.address["modeler"]}
            options = settings(
                listen=self.address[name],
                tls_dir=self.folders[name],
                NIGHTHERD_MONGO_URL=self.mongo_url,
                database=self.database(name),
                drain_seconds=0.2,
                **(peers if name == "detector" else {}),
            )
            self._tasks[name] = asyncio.create_task(module.serve(options))
            if serving:
                await until_serving(self.channel(name))

    async def stop(self, *names) -> None:
        for name in names:
            task = self._tasks.pop(name)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        await self.stop(*self._tasks)
        for channel in self._channels:
            await channel.close()


@pytest.fixture
async def backend(mongo_url, tls):
    running = Backend(mongo_url, tls, secrets.token_hex(4))
    yield running
    await running.close()
    client = mongo.connect(mongo_url)
    for name in PROGRAMS:
        await client.drop_database(running.database(name))
    client.close()
