"""A million events while the store, MongoDB or both are killed every few seconds."""

import asyncio
import contextlib
import random
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from grpc import aio

from benchmarks import sealed
from chassis import mongo
from nightherd.store.v1 import store_service_pb2 as api
from tests.services.store.test_kill import Mongod, killable, mongod  # noqa: F401  (fixtures)
from tests.services_client import Deliverer, until_serving

HOSTS = [f"{n:032x}" for n in range(40, 48)]
EVENTS_EACH, BATCHES = 500, 250
SECONDS = 120

pytestmark = pytest.mark.drill


async def ship(store, identity, chain, batches, acknowledged):
    """Deliver as an agent does, at a pace that makes it last; what was settled is never asked."""
    pause = SECONDS / len(batches)
    while len(acknowledged) < len(batches):
        with contextlib.suppress(aio.AioRpcError, TimeoutError, AttributeError):
            async with Deliverer(store.address, identity, chain.host_id) as stream:
                wanted = (await stream.hello([chain.chain_id])).wanted[0].next
                assert wanted > len(acknowledged), "an acknowledged batch is wanted again"
                acknowledged += range(len(acknowledged) + 1, wanted)
                for start in range(wanted - 1, len(batches), 4):
                    acknowledged += await stream.send(batches[start : start + 4])
                    await asyncio.sleep(4 * pause)
        await asyncio.sleep(0.1)
    assert acknowledged == list(range(1, len(batches) + 1))


async def test_a_million_events_through_two_minutes_of_kills(killable, mongod, tls):  # noqa: F811
    await until_serving(killable.channel.get())
    bodies = sealed.bodies(16, EVENTS_EACH)
    chains = [sealed.Chain(host_id) for host_id in HOSTS]
    ready = [list(sealed.batches(chain, bodies, BATCHES)) for chain in chains]
    acknowledged: list[list[int]] = [[] for _ in HOSTS]
    shipping = asyncio.gather(
        *(
            ship(
                killable,
                tls.host(chain.host_id, signing_key=chain.public_key),
                chain,
                batches,
                settled,
            )
            for chain, batches, settled in zip(chains, ready, acknowledged, strict=True)
        )
    )
    draw = random.Random(4)
    kills = {"store": 0, "mongod": 0, "both": 0}
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and not shipping.done():
        await asyncio.sleep(draw.uniform(3, 6))
        what = draw.choice(sorted(kills))
        kills[what] += 1
        victims = {"store": [killable], "mongod": [mongod], "both": [killable, mongod]}[what]
        for victim in victims:
            await asyncio.to_thread(victim.kill)
        for victim in victims:
            victim.start()
    began = time.monotonic()
    await asyncio.wait_for(shipping, 300)
    print(f"killed {kills}; {time.monotonic() - began:.0f} s until all was settled")
    await until_serving(killable.channel.get())
    answer = await killable.stub.ListHosts(api.ListHostsRequest(limit=100))
    counted = {host.host_id: (host.batch_count, host.event_count) for host in answer.hosts}
    assert counted == dict.fromkeys(HOSTS, (BATCHES, BATCHES * EVENTS_EACH))
    for host_id in HOSTS:
        request = api.VerifyCustodyRequest(host_id=host_id)
        report = await killable.stub.VerifyCustody(request, timeout=120)
        assert report.intact, report
        assert report.chains[0].event_count == BATCHES * EVENTS_EACH


@pytest.fixture
def small_disk():
    """A filesystem of 600 MB, and a file on it that takes what is asked."""
    folder = Path(tempfile.mkdtemp(prefix="nhd-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600m", "nhd", str(folder)], check=False
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip("a filesystem cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)
    folder.rmdir()


async def test_a_full_disk_acknowledges_nothing_that_is_not_kept(
    small_disk, tls, free_port, tmp_path
):
    from tests.services.store.test_kill import Process

    data = small_disk / "db"
    data.mkdir()
    server = Mongod(data)
    server.start()
    store = Process(server.url, tls.folder("store"), free_port, tmp_path / "store.log")
    store.start()
    store.address = f"127.0.0.1:{free_port}"
    from chassis.channel import Channel
    from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

    channel = Channel(store.address, tls.identity("gateway"), "store")
    filler = small_disk / "filler"
    chain = sealed.Chain(HOSTS[0])
    batches = list(sealed.batches(chain, sealed.bodies(16, EVENTS_EACH), 400))
    acknowledged: list[int] = []
    try:
        await until_serving(channel.get())
        identity = tls.host(chain.host_id, signing_key=chain.public_key)
        shipping = asyncio.create_task(ship(store, identity, chain, batches, acknowledged))
        while len(acknowledged) < 20:
            await asyncio.sleep(0.05)
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        deadline = time.monotonic() + 120
        stuck = -1
        while stuck != len(acknowledged) and time.monotonic() < deadline:
            stuck = len(acknowledged)
            await asyncio.sleep(8)
        assert len(acknowledged) < len(batches), "the disk never was full"
        assert store.process.poll() is None, "the store gave up"
        filler.unlink()
        # MongoDB ends itself when its journal cannot be written; who supervises it starts it again.
        with contextlib.suppress(Exception):
            server.kill()
        server.start()
        await asyncio.wait_for(shipping, 240)
        with contextlib.closing(mongo.connect(server.url)) as client:
            database = client["nightherd_store"]
            days = [n for n in await database.list_collection_names() if n.startswith("batches_")]
            assert sum([await database[day].count_documents({}) for day in days]) == len(batches)
        stub = StoreServiceStub(channel.get())
        report = await stub.VerifyCustody(api.VerifyCustodyRequest(host_id=HOSTS[0]))
        assert report.intact, report
    finally:
        if store.process.poll() is None:
            store.kill()
        server.kill()
        await channel.close()
