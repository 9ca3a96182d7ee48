"""Refused in clear words, nothing lost, and nobody else disturbed."""

import asyncio
import contextlib
import struct

import grpc
import pytest
import zstandard
from grpc import aio

from chassis.channel import open_channel
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.store.v1 import store_service_pb2 as api
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from tests.builders import CHAIN, HOST, a_chain, sealed_batch
from tests.services_client import Deliverer

APPEND = "/nightherd.store.v1.StoreService/AppendBatches"


async def raw_stream(store, identity, *messages):
    """Send raw bytes as messages; return the status that ends the stream."""
    async with open_channel(store.address, identity.channel_credentials(), "store") as channel:
        call = channel.stream_stream(APPEND)()
        for message in messages:
            await call.write(message)
        await call.done_writing()
        async with asyncio.timeout(60):
            with contextlib.suppress(aio.AioRpcError):
                async for _ in call:
                    pass
            return await call.code(), await call.details()


async def count(store):
    answer = await store.stub.ListHosts(api.ListHostsRequest(hosts=[HOST]))
    return sum(host.batch_count for host in answer.hosts)


@pytest.mark.parametrize("after_hello", [False, True])
async def test_bytes_that_are_no_message_end_their_stream_only(store, tls, after_hello):
    hello = pb.Hello(protocol_version=1, host_id=HOST)
    begin = api.AppendBatchesRequest(message=pb.AgentMessage(hello=hello)).SerializeToString()
    async with Deliverer(store.address, tls.host(), HOST) as good:
        await good.hello([CHAIN])
        messages = [begin] * after_hello + [b"\xff\xff\xff garbage"]
        code, details = await raw_stream(store, tls.host(), *messages)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "no message" in details
        assert len(await good.send(a_chain([None] * 3))) == 3
    assert await count(store) == 3


def compress(raw):
    return zstandard.ZstdCompressor(level=3).compress(raw)


def lying_frame():
    """Declares 100 bytes, holds 125 MiB."""
    block = struct.pack("<I", (128 * 1024 << 3) | 2)[:3] + b"a"
    last = struct.pack("<I", (1 << 3) | 3)[:3] + b"a"
    return b"\x28\xb5\x2f\xfd\x20" + bytes([100]) + block * 1000 + last


GOOD = sealed_batch(None, 2)


@pytest.mark.parametrize(
    ("body", "fields", "reason"),
    [
        (compress(bytes(100 << 20)), {}, "REASON_SIZE_MISMATCH"),
        (compress(bytes(100 << 20)), {"body_size_bytes": 100 << 20}, "REASON_OVERSIZE"),
        (lying_frame(), {"body_size_bytes": 100}, "REASON_BAD_FRAME"),
        (GOOD.body * 2, {}, "REASON_BAD_FRAME"),
        (GOOD.body + b"\0", {}, "REASON_BAD_FRAME"),
        (b"", {}, "REASON_BAD_FRAME"),
        (compress(b"x" * GOOD.ByteSize()), {}, "REASON_SIZE_MISMATCH"),
    ],
)
async def test_bombs_and_odd_frames_are_set_aside_and_the_stream_goes_on(
    store, tls, body, fields, reason
):
    first = sealed_batch(None, 1)
    bad = sealed_batch(None, 2, first, **fields)
    bad.body = body
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        await stream.hello([CHAIN])
        settled = await stream.send([first, bad, sealed_batch(None, 3, bad)])
    assert settled == [1, 2, 3]
    assert [pb.Rejection.Reason.Name(r.reason) for r in stream.rejections] == [reason]
    kept = [row async for row in store.database["aside"].find()]
    assert [row["batch"] for row in kept] == [bad.SerializeToString()]
    assert await count(store) == 2
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        assert (await stream.hello([CHAIN])).wanted[0].next == 4


async def test_a_batch_of_another_host_never_comes_again_and_never_lies_with_that_host(store, tls):
    foreign = sealed_batch(None, 1, host_id="f" * 32)
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        await stream.hello([CHAIN])
        await stream.send([foreign])
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        assert (await stream.hello([CHAIN])).wanted[0].next == 2
    hosts = (await store.stub.ListHosts(api.ListHostsRequest())).hosts
    assert [(h.host_id, h.batch_count, h.rejected_count) for h in hosts] == [(HOST, 0, 1)]


async def test_plaintext_is_refused(store):
    async with aio.insecure_channel(store.address) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await StoreServiceStub(channel).ListHosts(api.ListHostsRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_without_a_certificate_nobody_gets_in(store, tls):
    authority = (tls.folder("gateway") / "ca.pem").read_bytes()
    nobody = grpc.ssl_channel_credentials(authority)
    async with open_channel(store.address, nobody, "store") as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await StoreServiceStub(channel).ListHosts(api.ListHostsRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


QUESTIONS = ["ListActivities", "ListAlerts", "ListHosts", "ListGaps", "VerifyCustody"]


@pytest.mark.parametrize("role", ["host", "importer"])
async def test_who_brings_batches_may_not_ask_or_record(store, tls, role):
    identity = tls.host() if role == "host" else tls.identity(role)
    async with open_channel(store.address, identity.channel_credentials(), "store") as channel:
        for question in (*QUESTIONS, "RecordFindings"):
            ask = getattr(StoreServiceStub(channel), question)
            with pytest.raises(aio.AioRpcError) as refused:
                await ask(getattr(api, f"{question}Request")())
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_gateway_may_not_bring_batches(store, tls):
    code, _ = await raw_stream(store, tls.identity("gateway"))
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_set_asides_of_a_host_are_bounded_and_refusals_go_on(mongo_url):
    import secrets

    from chassis import mongo
    from services.store.repository.aside import OVERHEAD_BYTES, Aside

    client = mongo.connect(mongo_url)
    name = f"aside_{secrets.token_hex(4)}"
    aside = Aside(client[name], 10 * (OVERHEAD_BYTES + 1000))
    for n in range(30):
        batch = pb.SealedBatch(body=bytes([n]) * 990)
        for _ in range(2):
            await aside.keep(HOST, batch, pb.Rejection.REASON_BAD_HASH, "x")
    assert 8 <= (await aside.counts([HOST]))[HOST] <= 10
    await client.drop_database(name)
    client.close()
