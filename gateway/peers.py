"""The three services behind the gateway."""

from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.channel import Channel
from chassis.tls import Identity
from gateway.settings import Settings
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

if TYPE_CHECKING:  # the stubs know a type of their own for asyncio
    from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceAsyncStub
    from nightherd.store.v1.store_service_pb2_grpc import StoreServiceAsyncStub

DEADLINE_S = 20.0
HEALTH_S = 2.0


class Peers:
    """Channels to store, modeler and detector; ask anew for a stub at each call."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        """Nothing is connected before the first call."""
        self._channels = {
            "store": Channel(settings.store, identity, "store"),
            "modeler": Channel(settings.modeler, identity, "modeler"),
            "detector": Channel(settings.detector, identity, "detector"),
        }

    @property
    def store(self) -> "StoreServiceAsyncStub":
        """The store."""
        return StoreServiceStub(self._channels["store"].get())

    @property
    def modeler(self) -> "ModelerServiceAsyncStub":
        """The modeler."""
        return ModelerServiceStub(self._channels["modeler"].get())

    async def health(self) -> dict[str, str]:
        """Return peer -> "serving", "not serving" or "unreachable"."""
        found: dict[str, str] = {}
        for name, channel in self._channels.items():
            stub = health_pb2_grpc.HealthStub(channel.get())
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_S)
            except grpc.aio.AioRpcError:
                found[name] = "unreachable"
            else:
                serving = answer.status == health_pb2.HealthCheckResponse.SERVING
                found[name] = "serving" if serving else "not serving"
        return found

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()
