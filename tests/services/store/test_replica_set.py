"""The store on a MongoDB replica set: the primary killed, members paused; nothing is lost."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from grpc import aio
from pymongo import MongoClient

from chassis.channel import Channel
from nightherd.store.v1 import store_service_pb2 as api
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.store.__main__ import serve
from services.store.settings import Settings
from tests.builders import CHAIN, a_chain
from tests.conftest import mongod_binary
from tests.ports import free_port
from tests.services.store.test_kill import KEY
from tests.services_client import Deliverer, until_serving

BATCHES = 120
HOSTS = [f"{n:032x}" for n in range(10, 12)]


class ReplicaSet:
    """Three members on this machine."""

    def __init__(self, folder: Path) -> None:
        self.ports = [free_port() for _ in range(3)]
        self._members: dict[int, subprocess.Popen] = {}
        self._folder = folder
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"mongodb://{hosts}/?replicaSet=nh"

    def start(self) -> None:
        for port in self.ports:
            self.start_member(port)
        with MongoClient(port=self.ports[0], directConnection=True) as client:
            members = [{"_id": i, "host": f"127.0.0.1:{p}"} for i, p in enumerate(self.ports)]
            settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
            config = {"_id": "nh", "members": members, "settings": settings}
            client.admin.command("replSetInitiate", config)
        self.primary()

    def start_member(self, port: int) -> None:
        data = self._folder / str(port)
        data.mkdir(exist_ok=True)
        self._members[port] = subprocess.Popen(
            [
                mongod_binary(),
                *("--dbpath", str(data), "--bind_ip", "127.0.0.1", "--port", str(port)),
                *("--replSet", "nh", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),
                *("--wiredTigerEngineConfigString", "log=(file_max=10MB)", "--oplogSize", "50"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--logpath", str(data / "log"), "--logappend"),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            assert self._members[port].poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def primary(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for port in self.ports:
                with (
                    contextlib.suppress(Exception),
                    MongoClient(
                        port=port, directConnection=True, serverSelectionTimeoutMS=500
                    ) as client,
                ):
                    if client.admin.command("hello").get("isWritablePrimary"):
                        return port
            time.sleep(0.1)
        raise AssertionError("no primary was elected")

    def signal(self, port: int, number: int) -> None:
        self._members[port].send_signal(number)
        if number == signal.SIGKILL:
            self._members[port].wait()

    def close(self) -> None:
        for member in self._members.values():
            if member.poll() is None:
                os.kill(member.pid, signal.SIGCONT)
                member.kill()
                member.wait()


@pytest.fixture(scope="module")
def replicas():
    folder = Path(tempfile.mkdtemp(prefix="nhr-"))
    members = ReplicaSet(folder)
    try:
        members.start()
        yield members
    finally:
        members.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def store(replicas, tls, free_port):
    settings = Settings(
        listen=f"127.0.0.1:{free_port}",
        tls_dir=tls.folder("store"),
        NIGHTHERD_MONGO_URL=replicas.url,
        database=f"store_{secrets.token_hex(4)}",
        drain_seconds=0.2,
    )
    task = asyncio.create_task(serve(settings))
    channel = Channel(f"127.0.0.1:{free_port}", tls.identity("gateway"), "store")
    await until_serving(channel.get())
    yield f"127.0.0.1:{free_port}", StoreServiceStub(channel.get())
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await channel.close()


async def ship(address, identity, host_id, chain, acknowledged):
    """Deliver as an agent does: what the Welcome asks for, again after each break."""
    deadline = time.monotonic() + 120
    while len(acknowledged) < len(chain):
        assert time.monotonic() < deadline
        with contextlib.suppress(aio.AioRpcError, TimeoutError, AttributeError):
            async with Deliverer(address, identity, host_id) as stream:
                wanted = (await stream.hello([CHAIN])).wanted[0].next
                assert wanted > len(acknowledged), "an acknowledged batch is wanted again"
                acknowledged += range(len(acknowledged) + 1, wanted)
                for start in range(wanted - 1, len(chain), 4):
                    acknowledged += await stream.send(chain[start : start + 4])
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
    assert acknowledged == list(range(1, len(chain) + 1))


async def check_all(stub, count):
    answer = await stub.ListHosts(api.ListHostsRequest(hosts=HOSTS))
    assert {host.host_id: host.batch_count for host in answer.hosts} == dict.fromkeys(HOSTS, count)
    for host_id in HOSTS:
        report = await stub.VerifyCustody(api.VerifyCustodyRequest(host_id=host_id))
        assert report.intact, report
        assert [(c.first, c.last, c.batch_count) for c in report.chains] == [(1, count, count)]


async def test_a_killed_primary_loses_nothing(replicas, store, tls):
    address, stub = store
    key = KEY.public_key().public_bytes_raw()
    acknowledged: dict[str, list[int]] = {host_id: [] for host_id in HOSTS}
    shipping = asyncio.gather(
        *(
            ship(
                address,
                tls.host(host_id, signing_key=key),
                host_id,
                a_chain([None] * BATCHES, host_id=host_id, signer=KEY),
                acknowledged[host_id],
            )
            for host_id in HOSTS
        )
    )
    while min(map(len, acknowledged.values())) < BATCHES // 4:
        await asyncio.sleep(0.02)
    killed = replicas.primary()
    replicas.signal(killed, signal.SIGKILL)
    assert max(map(len, acknowledged.values())) < BATCHES, "the primary was killed too late"
    await shipping
    await check_all(stub, BATCHES)
    replicas.start_member(killed)
    # A member that comes back has what was acknowledged without it.
    deadline = time.monotonic() + 60
    while True:
        with MongoClient(port=killed, directConnection=True) as client:
            if client.admin.command("hello").get("secondary"):
                break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


async def test_nothing_is_acknowledged_that_most_members_do_not_have(replicas, store, tls):
    address, stub = store
    primary = replicas.primary()
    paused = [port for port in replicas.ports if port != primary]
    key = KEY.public_key().public_bytes_raw()
    host_id = HOSTS[0]
    chain = a_chain([None] * 10, host_id=host_id, signer=KEY)
    acknowledged: list[int] = []
    for port in paused:
        replicas.signal(port, signal.SIGSTOP)
    try:
        shipping = asyncio.create_task(
            ship(address, tls.host(host_id, signing_key=key), host_id, chain, acknowledged)
        )
        await asyncio.sleep(2)
        assert acknowledged == []
    finally:
        for port in paused:
            replicas.signal(port, signal.SIGCONT)
    await asyncio.wait_for(shipping, 120)
    report = await stub.VerifyCustody(api.VerifyCustodyRequest(host_id=host_id))
    assert report.intact
    assert report.chains[0].batch_count == 10
