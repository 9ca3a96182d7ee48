"""Runs servicers until SIGTERM, then drains."""

from collections.abc import Callable, Sequence
from typing import Self

from google.protobuf.descriptor import ServiceDescriptor
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from chassis import access
from chassis.boundary import Boundary
from chassis.channel import MAX_MESSAGE_BYTES
from chassis.tls import Identity

OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients ask every 30 s whether we are there; on a slow host two of those come close together.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    # Long streams pin a replica; ending them now and then lets new replicas take their share.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.so_reuseport", 0),
]


class Server:
    """A grpc.aio server: mTLS, roles from the protos, health, reflection, a graceful end."""

    def __init__(
        self,
        address: str,
        identity: Identity,
        services: Sequence[ServiceDescriptor],
        *register: Callable[[aio.Server], None],
        drain_s: float = 5,
        reflect: bool = True,
    ) -> None:
        """Bind `address` ("host:port", port 0 picks one; `.port` tells).

        Args:
            address: where to listen.
            identity: the program's own certificate.
            services: descriptors of what is served: their RPCs' `callers` are enforced.
            register: each adds one servicer to the server.
            drain_s: how long calls in flight may go on at the end.
            reflect: whether the API may be listed (on in development).

        Raises:
            RuntimeError: the address cannot be bound.
        """
        self._drain_s = drain_s
        self._grpc = aio.server(
            interceptors=[Boundary(access.callers(services))],
            options=OPTIONS,
            maximum_concurrent_rpcs=5_000,
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        if reflect:
            names = [service.full_name for service in services]
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._grpc)
        for add in register:
            add(self._grpc)
        self.port = self._grpc.add_secure_port(address, identity.server_credentials())
        if self.port == 0:
            raise RuntimeError(f"cannot listen on {address}: the port is in use or not ours")

    async def __aenter__(self) -> Self:
        """Begin to serve; health stays NOT_SERVING until `ready(True)`."""
        await self._health.set("", HealthCheckResponse.NOT_SERVING)
        await self._grpc.start()
        return self

    async def ready(self, *, is_ready: bool = True) -> None:
        """Say whether this program can do its work."""
        state = HealthCheckResponse.SERVING if is_ready else HealthCheckResponse.NOT_SERVING
        await self._health.set("", state)

    async def __aexit__(self, *_: object) -> None:
        """Say NOT_SERVING, refuse new calls, let calls in flight finish, end."""
        await self._health.enter_graceful_shutdown()
        await self._grpc.stop(grace=self._drain_s)
