"""Talks to a receiver as an agent does, one stream at a time, for tests."""

import asyncio
from collections.abc import Sequence
from typing import Self

from google.protobuf.message import DecodeError

from chassis.channel import open_channel
from nightherd.event.v1 import delivery_pb2 as pb

STORE, DETECTOR, MODELER = "store", "detector", "modeler"


def _rpc(role):
    from nightherd.detector.v1 import detector_service_pb2 as detector
    from nightherd.detector.v1 import detector_service_pb2_grpc as detector_grpc
    from nightherd.modeler.v1 import modeler_service_pb2 as modeler
    from nightherd.modeler.v1 import modeler_service_pb2_grpc as modeler_grpc
    from nightherd.store.v1 import store_service_pb2 as store
    from nightherd.store.v1 import store_service_pb2_grpc as store_grpc

    return {
        STORE: (store_grpc.StoreServiceStub, "AppendBatches", store.AppendBatchesRequest),
        DETECTOR: (
            detector_grpc.DetectorServiceStub,
            "InspectBatches",
            detector.InspectBatchesRequest,
        ),
        MODELER: (modeler_grpc.ModelerServiceStub, "ObserveBatches", modeler.ObserveBatchesRequest),
    }[role]


class Deliverer:
    """One stream: `async with Deliverer(…) as stream: await stream.send(batches)`."""

    def __init__(self, address: str, identity, host_id: str, role: str = STORE) -> None:
        self._channel = open_channel(address, identity.channel_credentials(), role)
        self._host_id, self._role = host_id, role
        self.welcome: pb.Welcome | None = None
        self.rejections: list[pb.Rejection] = []

    async def __aenter__(self) -> Self:
        stub, name, self._request = _rpc(self._role)
        self._call = getattr(stub(self._channel), name)()
        return self

    async def __aexit__(self, *_) -> None:
        self._call.cancel()
        await self._channel.close()

    async def hello(self, chains: Sequence[bytes], version: int = 1) -> pb.Welcome:
        """Say Hello; return the Welcome."""
        hello = pb.Hello(
            protocol_version=version,
            host_id=self._host_id,
            chains=[pb.Hello.ChainHead(chain_id=c, first=1) for c in chains],
        )
        await self._call.write(self._request(message=pb.AgentMessage(hello=hello)))
        self.welcome = (await self._read()).welcome
        return self.welcome

    async def write(self, message: pb.AgentMessage) -> None:
        """Write any message."""
        await self._call.write(self._request(message=message))

    async def send(self, batches: Sequence[pb.SealedBatch]) -> list[int]:
        """Send batches; return the numbers that were settled (rejections are kept apart).

        One receipt may stand for several batches before it.
        """

        async def write() -> None:
            for batch in batches:
                await self.write(pb.AgentMessage(batch=batch))

        writing = asyncio.create_task(write())
        due = self._numbers(batches)
        settled: list[int] = []
        try:
            while len(settled) < len(due):
                said = await self._read()
                if said.HasField("rejection"):
                    self.rejections.append(said.rejection)
                elif said.HasField("receipt"):
                    last = due.index(said.receipt.settled_through, len(settled))
                    settled += due[len(settled) : last + 1]
        finally:
            await asyncio.gather(writing, return_exceptions=True)
        return settled

    def _numbers(self, batches: Sequence[pb.SealedBatch]) -> list[int]:
        """Return the number that each settles; what cannot say it settles the next one."""
        numbers: list[int] = []
        before = self.welcome.wanted[0].next - 1 if self.welcome.wanted else 0
        for batch in batches:
            try:
                header = pb.BatchHeader.FromString(batch.header)
            except DecodeError:
                header = pb.BatchHeader()
            whole = len(header.chain_id) == 16 and header.batch_number > 0
            before = header.batch_number if whole else before + 1
            numbers.append(before)
        return numbers

    async def _read(self) -> pb.ReceiverMessage:
        response = await asyncio.wait_for(self._call.read(), 60)
        if not hasattr(response, "message"):  # the end of the stream: raise its status
            await self._call.code()
            raise _error(self._call)
        return response.message


def _error(call):
    from grpc import aio

    return aio.AioRpcError(
        call._cython_call._status.code(), None, None, call._cython_call._status.details()
    )


async def deliver(address, identity, batches, host_id, role=STORE) -> Deliverer:
    """Send batches on a stream of their own; return the stream's record."""
    chains = list(dict.fromkeys(pb.BatchHeader.FromString(b.header).chain_id for b in batches))
    async with Deliverer(address, identity, host_id, role) as stream:
        await stream.hello(chains)
        await stream.send(batches)
    return stream


async def until_serving(channel, timeout_s: float = 60) -> None:
    """Wait until the server behind `channel` says SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.aio.AioRpcError:
                pass
            else:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(0.05)
