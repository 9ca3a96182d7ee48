"""The three services behind the gateway."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from chassis.channel import Channel
from chassis.tls import Identity
from gateway.problems import PeerError
from gateway.settings import Settings
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

if TYPE_CHECKING:  # the stubs know a type of their own for asyncio
    from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceAsyncStub
    from nightherd.store.v1.store_service_pb2_grpc import StoreServiceAsyncStub

DEADLINE_S = 20.0
CUSTODY_S = 300.0
STREAM_S = 3600.0
HEALTH_S = 2.0

Stub = TypeVar("Stub")
Answer = TypeVar("Answer")


def _reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason that the service gave for clients to switch on; empty: none."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that do not fit the status: not one of ours
        return ""
    info = ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def _failed(peer: str, error: grpc.aio.AioRpcError) -> PeerError:
    return PeerError(peer, error.code(), error.details() or "", _reason(error))


class Peer(Generic[Stub]):
    """One service."""

    def __init__(
        self, name: str, channel: Channel, stub: Callable[[grpc.aio.Channel], Any]
    ) -> None:
        """Ask `name` through `channel`; nothing is connected before the first call."""
        self.name, self.channel, self._stub = name, channel, stub

    async def ask(self, call: Callable[[Stub], Awaitable[Answer]]) -> Answer:
        """Return the answer to `call`.

        Raises:
            PeerError: it was refused, or nobody answers.
        """
        try:
            return await call(self._stub(self.channel.get()))
        except grpc.aio.AioRpcError as error:
            raise _failed(self.name, error) from error

    async def parts(self, call: Callable[[Stub], AsyncIterable[Answer]]) -> AsyncIterator[Answer]:
        """Yield the parts of a streamed answer, at the reader's pace.

        Raises:
            PeerError: it was refused, nobody answers, or it broke off.
        """
        answering: Any = call(self._stub(self.channel.get()))
        try:
            async for part in answering:
                yield part
        except grpc.aio.AioRpcError as error:
            raise _failed(self.name, error) from error
        finally:
            answering.cancel()  # the reader went away; harmless when it ended

    async def health(self) -> str:
        """Return "serving", "not serving" or "unreachable"."""
        stub = health_pb2_grpc.HealthStub(self.channel.get())
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_S)
        except grpc.aio.AioRpcError:
            return "unreachable"
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return "serving" if serving else "not serving"


class Peers:
    """Store, modeler and detector."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        """Reach them where `settings` say, as `identity`."""
        at = {"store": settings.store, "modeler": settings.modeler, "detector": settings.detector}
        channels = {name: Channel(address, identity, name) for name, address in at.items()}
        self.store: Peer[StoreServiceAsyncStub] = Peer("store", channels["store"], StoreServiceStub)
        self.modeler: Peer[ModelerServiceAsyncStub] = Peer(
            "modeler", channels["modeler"], ModelerServiceStub
        )
        # Nobody asks a detector anything but whether it serves.
        self.detector: Peer[None] = Peer("detector", channels["detector"], lambda _: None)
        self._all: tuple[Peer[Any], ...] = (self.store, self.modeler, self.detector)

    async def health(self) -> dict[str, str]:
        """Return the health of each by name."""
        states = await asyncio.gather(*(peer.health() for peer in self._all))
        return {peer.name: state for peer, state in zip(self._all, states, strict=True)}

    async def close(self) -> None:
        """Close every channel."""
        for peer in self._all:
            await peer.channel.close()
