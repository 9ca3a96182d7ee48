"""A real modeler over a real mongod, with mTLS."""

import asyncio
import contextlib
import secrets

import pytest

from chassis import mongo
from chassis.channel import Channel, open_channel
from nightherd.modeler.v1 import model_pb2
from nightherd.modeler.v1 import modeler_service_pb2 as pb
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from services.modeler.__main__ import serve
from services.modeler.settings import Settings
from tests.builders import HOST
from tests.services_client import MODELER, deliver, until_serving


@pytest.fixture
async def database(mongo_url):
    name = f"modeler_{secrets.token_hex(4)}"
    client = mongo.connect(mongo_url)
    yield client[name]
    await client.drop_database(name)
    client.close()


class Modeler:
    """What tests say to a modeler, as agent, as gateway and as detector."""

    def __init__(self, address, tls, database="") -> None:
        self.address, self.tls, self.database = address, tls, database
        self._channel = Channel(address, tls.identity("gateway"), "modeler")
        self.stub = ModelerServiceStub(self._channel.get())

    async def ready(self) -> None:
        await until_serving(self._channel.get())

    async def close(self) -> None:
        await self._channel.close()

    async def learn(self, batches, host_id=HOST, herd="default"):
        identity = self.tls.host(host_id, herd)
        return await deliver(self.address, identity, batches, host_id, MODELER)

    async def model(self, service="nginx.service", herd="default") -> pb.ListModelsResponse:
        answer = await self.stub.ListModels(
            pb.ListModelsRequest(services=[service], herds=[herd]), timeout=60
        )
        return answer.models[0] if answer.models else None

    async def set_state(self, state, service="nginx.service", herd="default"):
        request = pb.SetModelStateRequest(
            herd=herd,
            service=service,
            state=model_pb2.ModelState.Value(f"MODEL_STATE_{state}"),
            changed_by="olga",
        )
        return (await self.stub.SetModelState(request, timeout=60)).model

    @contextlib.asynccontextmanager
    async def watch(self, detector_id="d1"):
        channel = open_channel(
            self.address, self.tls.identity("detector").channel_credentials(), "modeler"
        )
        watcher = Watcher(ModelerServiceStub(channel).WatchModels(), detector_id)
        await watcher.say(0)
        try:
            yield watcher
        finally:
            watcher.call.cancel()
            await channel.close()


class Watcher:
    def __init__(self, call, detector_id) -> None:
        self.call, self.detector_id = call, detector_id
        self.models, self.revision, self.complete = {}, 0, False

    async def say(self, applied) -> None:
        await self.call.write(
            pb.WatchModelsRequest(detector_id=self.detector_id, applied_revision=applied)
        )

    async def until(self, holds) -> None:
        """Take messages until `holds(self)`."""
        async with asyncio.timeout(60):
            while not (self.complete and holds(self)):
                response = await self.call.read()
                for model in response.models:
                    self.models[model.herd, model.service] = model
                self.revision = max(self.revision, response.revision)
                self.complete |= response.complete


@pytest.fixture
async def start(mongo_url, tls, database, free_port):
    """Start the modeler with settings."""
    started = []

    async def begin(**options):
        values = {
            "listen": f"127.0.0.1:{free_port}",
            "tls_dir": tls.folder("modeler"),
            "NIGHTHERD_MONGO_URL": mongo_url,
            "database": database.name,
            "drain_seconds": 0.2,
        }
        settings = Settings(**values | options)
        task = asyncio.create_task(serve(settings))
        modeler = Modeler(f"127.0.0.1:{free_port}", tls, database.name)
        started.append((task, modeler))
        await modeler.ready()
        return modeler

    yield begin
    for task, modeler in started:
        await modeler.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def modeler(start):
    return await start()
