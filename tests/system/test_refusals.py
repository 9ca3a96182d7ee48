"""Refused with a clear error, and nothing lost: over the real ports of the real programs."""

import asyncio
import hashlib
import os
import socket
import ssl

import grpc
import pytest
import zstandard

from chassis.authority import Authority
from chassis.channel import open_channel
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.store.v1 import store_service_pb2 as store
from nightherd.store.v1 import store_service_pb2_grpc as store_grpc
from tests.builders import T0, a_body, a_chain, sealed_batch
from tests.services_client import Deliverer
from tests.system.database import verified_chains
from tests.system.delivering import PaperHost
from tests.system.running import RefusedError, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: shares the `up` of kernel tests"),
]
REASONS = pb.Rejection.Reason


@pytest.fixture
def host(nightherd, place):
    return PaperHost(nightherd, place)


def stored(nightherd, host) -> dict:
    found = [h for h in nightherd.every("nightherd/hosts") if h["hostID"] == host.host_id]
    assert len(found) == 1
    return found[0]


def bent(batch: pb.SealedBatch, **fields) -> pb.SealedBatch:
    copy = pb.SealedBatch()
    copy.CopyFrom(batch)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def a_bomb(host) -> pb.SealedBatch:
    zeros = bytes(100 << 20)
    batch = sealed_batch(number=2, body_hash=hashlib.sha256(zeros).digest(), **host.header)
    return bent(batch, body=zstandard.ZstdCompressor().compress(zeros))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda h: sealed_batch(number=2, **h.header | {"host_id": "f" * 32}),
            REASONS.REASON_FOREIGN_HOST,
        ),
        (
            lambda h: sealed_batch(number=2, **h.header | {"herd": "elsewhere"}),
            REASONS.REASON_FOREIGN_HERD,
        ),
        (
            lambda h: sealed_batch(number=2, **h.header, body_hash=b"\x00" * 32),
            REASONS.REASON_BAD_HASH,
        ),
        (
            lambda h: bent(b := sealed_batch(number=2, **h.header), body=b.body * 2),
            REASONS.REASON_BAD_FRAME,
        ),
        (a_bomb, None),
    ],
    ids=["another host", "another herd", "a bad hash", "two frames", "a bomb"],
)
def test_a_batch_that_is_none_is_rejected_and_the_stream_goes_on(nightherd, host, make, reason):
    first = sealed_batch(**host.header)
    host.send([first])
    refused = make(host)
    stream = host.send([refused])
    assert len(stream.rejections) == 1
    if reason is None:
        assert stream.rejections[0].reason in (
            REASONS.REASON_OVERSIZE,
            REASONS.REASON_SIZE_MISMATCH,
        )
    else:
        assert stream.rejections[0].reason == reason
    assert stream.rejections[0].detail
    host.send([sealed_batch(number=2, previous=first, **host.header)])
    seen = stored(nightherd, host)
    assert seen["rejected"] == 1
    assert seen["batches"] == 2
    assert nightherd.get(f"nightherd/custody/{host.host_id}")["intact"] is True


def test_garbage_is_rejected_and_the_stream_goes_on(nightherd, host):
    async def converse() -> list:
        address = f"127.0.0.1:{nightherd.ports()['store']}"
        async with Deliverer(address, host.identity, host.host_id) as stream:
            await stream.hello([host.chain_id])
            garbage = pb.SealedBatch(header=b"\xff garbage", body=b"\x00")
            await stream.write(pb.AgentMessage(batch=garbage))
            await stream.send([sealed_batch(**host.header)])
            return stream.rejections

    rejections = asyncio.run(converse())
    assert [r.reason for r in rejections] == [REASONS.REASON_MALFORMED]
    # The receipt was for the garbage, which stands for the number that was wanted.
    wait(lambda: stored(nightherd, host)["batches"] == 1)
    assert stored(nightherd, host)["rejected"] == 1


def test_a_broken_link_and_a_fork_are_kept_and_flagged(nightherd, host):
    chain = a_chain([a_body()] * 3, **host.header)
    host.send(chain)
    # A link that names nothing; then the same number again with another content.
    host.send([sealed_batch(number=4, **host.header)])
    host.send([sealed_batch(number=3, previous=chain[1], agent_version="fork", **host.header)])
    custody = nightherd.get(f"nightherd/custody/{host.host_id}")
    assert custody["intact"] is False
    faults = [fault["kind"] for chain_ in custody["chains"] for fault in chain_["faults"]]
    assert len(faults) >= 2, custody
    ours = [c for c in verified_chains(nightherd) if c.host_id == host.host_id]
    assert [(c.batches, c.forks) for c in ours] == [(4, 1)]
    assert ours[0].faults == ["batch 4: names another batch before it"]


def test_a_clock_two_days_back_makes_no_hole(nightherd, host):
    two_days = 2 * 86_400 * 1_000_000_000
    first = sealed_batch(sealed_ns=T0, **host.header)
    second = sealed_batch(number=2, previous=first, sealed_ns=T0 - two_days, **host.header)
    third = sealed_batch(number=3, previous=second, sealed_ns=T0 + 1, **host.header)
    host.send([first, second, third])
    assert stored(nightherd, host)["batches"] == 3
    assert nightherd.get(f"nightherd/custody/{host.host_id}")["intact"] is True


def _list_hosts(channel):
    return store_grpc.StoreServiceStub(channel).ListHosts(store.ListHostsRequest(), timeout=60)


async def test_plaintext_is_refused(nightherd):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{nightherd.ports()['store']}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _list_hosts(channel)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_no_certificate_is_refused(nightherd):
    authority = (nightherd.home / "ca" / "ca.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(authority)
    channel = open_channel(f"127.0.0.1:{nightherd.ports()['store']}", credentials, "store")
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _list_hosts(channel)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_refused(nightherd, tmp_path):
    Authority.open(tmp_path / "ca").issue(tmp_path / "tls", "gateway")
    (tmp_path / "tls" / "ca.pem").write_bytes((nightherd.home / "ca" / "ca.pem").read_bytes())
    credentials = Identity(tmp_path / "tls").channel_credentials()
    channel = open_channel(f"127.0.0.1:{nightherd.ports()['store']}", credentials, "store")
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _list_hosts(channel)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_an_agents_certificate_may_not_read(nightherd):
    credentials = Identity(nightherd.home / "agent" / "tls").channel_credentials()
    channel = open_channel(f"127.0.0.1:{nightherd.ports()['store']}", credentials, "store")
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _list_hosts(channel)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "host may not call ListHosts" in refused.value.details()


@pytest.mark.parametrize(
    ("path", "credentials", "query", "status"),
    [
        ("nightherd/hosts", "admin:wrong", {}, 401),
        ("nightherd/hosts", "nobody:wrong", {}, 401),
        ("forensic/activities", "", {"type": "no such type"}, 400),
        ("forensic/activities", "", {"nonsense": "1"}, 400),
        ("audits/runtime/host", "", {"limit": "many"}, 400),
        ("nightherd/custody/nobody", "", {}, 404),
    ],
    ids=["password", "user", "value", "parameter", "number", "host"],
)
def test_a_wrong_question_is_a_problem_that_says_what(nightherd, path, credentials, query, status):
    with pytest.raises(RefusedError) as refused:
        nightherd.open(path, credentials=credentials, **query)
    assert refused.value.status == status
    assert refused.value.headers["Content-Type"] == "application/problem+json"
    assert b"detail" in refused.value.body


def test_plain_http_is_refused_by_the_gateway(nightherd):
    with socket.create_connection(("127.0.0.1", nightherd.port), timeout=60) as plain:
        plain.sendall(b"GET /api/v1/_ping HTTP/1.0\r\n\r\n")
        try:
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
    assert b"OK" not in answer


def test_the_gateway_does_not_speak_old_tls(nightherd):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(nightherd.home / "ca" / "ca.pem")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA")
    with (
        socket.create_connection(("127.0.0.1", nightherd.port), timeout=60) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        old.wrap_socket(plain, server_hostname="localhost")
