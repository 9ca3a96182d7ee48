"""Every RPC shape: what a handler returns arrives, what it refuses becomes a status."""

import asyncio

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status.rpc_status import from_call

from chassis.channel import Channel
from chassis.errors import NotFoundError
from chassis.server import Server
from nightherd.store.v1 import store_service_pb2 as pb
from nightherd.store.v1.store_service_pb2_grpc import (
    StoreServiceServicer,
    StoreServiceStub,
    add_StoreServiceServicer_to_server,
)

SERVICE = pb.DESCRIPTOR.services_by_name["StoreService"]


class Store(StoreServiceServicer):
    """Answers with what the test needs of each shape."""

    def __init__(self):
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def ListHosts(self, request, context):
        if request.search == "slow":
            self.began.set()
            await self.go_on.wait()
        if request.search == "bug":
            raise ZeroDivisionError
        if request.search == "gone":
            raise NotFoundError("no such host", host_id="h1")
        return pb.ListHostsResponse(total_count=1)

    async def StreamEvents(self, request, context):
        yield pb.StreamEventsResponse(header=b"first")
        if request.host_id == "gone":
            raise NotFoundError("no such host")
        yield pb.StreamEventsResponse(header=b"last")

    async def AppendBatches(self, request_iterator, context):
        async for _ in request_iterator:
            yield pb.AppendBatchesResponse()


def server_of(tls, store=None):
    return Server(
        "127.0.0.1:0",
        tls.identity("store"),
        [SERVICE],
        lambda s: add_StoreServiceServicer_to_server(store or Store(), s),
    )


async def test_answers_arrive_and_refusals_carry_reason_and_metadata(tls):
    async with server_of(tls) as server:
        channel = Channel(f"127.0.0.1:{server.port}", tls.identity("gateway"), "store")
        stub = StoreServiceStub(channel.get())
        assert (await stub.ListHosts(pb.ListHostsRequest())).total_count == 1
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.ListHosts(pb.ListHostsRequest(search="gone"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert b"NOT_FOUND" in dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
        with pytest.raises(aio.AioRpcError) as bug:
            await stub.ListHosts(pb.ListHostsRequest(search="bug"))
        assert bug.value.code() is grpc.StatusCode.INTERNAL
        assert "ZeroDivision" not in bug.value.details()
        parts = [p.header async for p in stub.StreamEvents(pb.StreamEventsRequest())]
        assert parts == [b"first", b"last"]
        with pytest.raises(aio.AioRpcError) as late:
            _ = [p async for p in stub.StreamEvents(pb.StreamEventsRequest(host_id="gone"))]
        assert late.value.code() is grpc.StatusCode.NOT_FOUND
        await channel.close()
    assert from_call is not None


@pytest.mark.parametrize("role", ["modeler", "detector", "importer", "store"])
async def test_a_role_that_is_not_named_is_refused_on_every_shape(tls, role):
    async with server_of(tls) as server:
        channel = Channel(f"127.0.0.1:{server.port}", tls.identity(role), "store")
        stub = StoreServiceStub(channel.get())
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.VerifyCustody(pb.VerifyCustodyRequest())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(aio.AioRpcError) as refused:
            _ = [p async for p in stub.StreamEvents(pb.StreamEventsRequest())]
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await channel.close()


async def test_plaintext_and_no_certificate_are_refused(tls):
    async with server_of(tls) as server:
        address = f"127.0.0.1:{server.port}"
        authority = (tls.identity("gateway").folder / "ca.pem").read_bytes()
        bare = grpc.ssl_channel_credentials(authority)
        options = [("grpc.ssl_target_name_override", "store.nightherd")]
        for channel in (
            aio.insecure_channel(address),
            aio.secure_channel(address, bare, options=options),
        ):
            async with channel:
                with pytest.raises(aio.AioRpcError) as refused:
                    await StoreServiceStub(channel).ListHosts(pb.ListHostsRequest(), timeout=60)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_refuses_a_server_with_another_role(tls):
    async with server_of(tls) as server:
        channel = Channel(f"127.0.0.1:{server.port}", tls.identity("gateway"), "modeler")
        with pytest.raises(aio.AioRpcError) as refused:
            await StoreServiceStub(channel.get()).ListHosts(pb.ListHostsRequest(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await channel.close()


async def test_renewed_certificates_are_used_without_a_restart(tls):
    store, gateway = tls.identity("store"), tls.identity("gateway")
    server = Server(
        "127.0.0.1:0", store, [SERVICE], lambda s: add_StoreServiceServicer_to_server(Store(), s)
    )
    async with server:
        channel = Channel(f"127.0.0.1:{server.port}", gateway, "store")
        before = channel.get()
        await StoreServiceStub(before).ListHosts(pb.ListHostsRequest())
        tls.folder("store")
        tls.folder("gateway")
        after = channel.get()
        assert after is not before
        assert (await StoreServiceStub(after).ListHosts(pb.ListHostsRequest())).total_count == 1
        await channel.close()


async def test_sigterm_order_not_serving_then_in_flight_finishes(tls):
    store = Store()
    server = server_of(tls, store)
    await server.__aenter__()
    await server.ready()
    channel = Channel(f"127.0.0.1:{server.port}", tls.identity("gateway"), "store")
    stub = StoreServiceStub(channel.get())
    watch = health_pb2_grpc.HealthStub(channel.get()).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    in_flight = asyncio.ensure_future(stub.ListHosts(pb.ListHostsRequest(search="slow")))
    await store.began.wait()
    stopping = asyncio.create_task(server.__aexit__())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    store.go_on.set()
    assert (await in_flight).total_count == 1
    watch.cancel()
    await stopping
    await channel.close()
