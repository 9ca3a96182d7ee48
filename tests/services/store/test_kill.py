"""kill -9 of the store and of MongoDB, batches under way: exactly once afterwards."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis import mongo
from chassis.channel import Channel
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from tests.builders import CHAIN, T0, a_body, a_chain, an_event, an_image
from tests.conftest import ROOT, mongod_binary
from tests.services_client import Deliverer, until_serving

KEY = Ed25519PrivateKey.generate()
HOSTS = [f"{n:032x}" for n in range(3)]


class Mongod:
    """A mongod of its own, to be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None
        self.url = f"mongodb://{quote_plus(str(folder / 'm.sock'))}/?directConnection=true"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                mongod_binary(),
                *("--dbpath", str(self._folder), "--bind_ip", str(self._folder / "m.sock")),
                *("--networkMessageCompressors", "disabled", "--wiredTigerCacheSizeGB", "0.25"),
                *("--wiredTigerEngineConfigString", "log=(file_max=10MB)"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--unixSocketPrefix", str(self._folder), "--port", "27017"),
                *("--logpath", str(self._folder / "log"), "--logappend"),
            ],
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def mongod():
    folder = Path(tempfile.mkdtemp(prefix="nh-"))
    server = Mongod(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


class Process:
    """`python -m services.store`, to be killed."""

    def __init__(self, url, tls_dir, port, log) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "NIGHTHERD_MONGO_URL": url,
            "NIGHTHERD_STORE_LISTEN": f"127.0.0.1:{port}",
            "NIGHTHERD_STORE_TLS_DIR": str(tls_dir),
            "NIGHTHERD_STORE_DRAIN_SECONDS": "1",
            "NIGHTHERD_LOG_FORMAT": "json",
        }
        self._log = log
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.store"], env=self._environment, stderr=log
            )

    def kill(self, number=signal.SIGKILL) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.fixture
async def killable(mongod, tls, free_port, tmp_path):
    store = Process(mongod.url, tls.folder("store"), free_port, tmp_path / "store.log")
    store.start()
    channel = Channel(f"127.0.0.1:{free_port}", tls.identity("gateway"), "store")
    store.address, store.channel = f"127.0.0.1:{free_port}", channel
    store.stub, store.log_file = StoreServiceStub(channel.get()), tmp_path / "store.log"
    yield store
    if store.process.poll() is None:
        store.kill()
    await channel.close()


def a_long_chain(host_id, length=150):
    """Batches with a gap event in every tenth."""
    bodies = []
    for number in range(length):
        gap = events.Gap(cause=events.Gap.CAUSE_KERNEL_DROP, lost=number)
        kinds = {"gap": gap} if number % 10 == 0 else {"exec": events.Exec()}
        event = an_event(time_ns=T0 + number * 10**9, **kinds)
        bodies.append(a_body((an_image(pid=500 + number), event)))
    return a_chain(bodies, host_id=host_id, signer=KEY)


async def ship(store, identity, host_id, chain, acknowledged):
    """Deliver a chain as an agent does: from what the Welcome asks for, again after each break."""
    deadline = time.monotonic() + 90
    unacknowledged_at_breaks = 0
    while len(acknowledged) < len(chain):
        assert time.monotonic() < deadline
        last = len(acknowledged)
        try:
            async with Deliverer(store.address, identity, host_id) as stream:
                wanted = (await stream.hello([CHAIN])).wanted[0].next
                assert wanted > last, "an acknowledged batch is wanted again"
                acknowledged += range(last + 1, wanted)
                for start in range(wanted - 1, len(chain), 5):
                    acknowledged += await stream.send(chain[start : start + 5])
                    await asyncio.sleep(0.02)
        except (aio.AioRpcError, TimeoutError, AttributeError):
            unacknowledged_at_breaks += len(acknowledged) < len(chain)
            await asyncio.sleep(0.1)
    assert acknowledged == list(range(1, len(chain) + 1))
    return unacknowledged_at_breaks


async def check_all_there(store, url):
    with contextlib.closing(mongo.connect(url)) as client:
        database = client["nightherd_store"]
        names = [n for n in await database.list_collection_names() if n.startswith("batches_")]
        rows = []
        for name in names:
            rows += await database[name].find({}, {"h": True, "n": True}).to_list(None)
    assert sorted((r["h"], r["n"]) for r in rows) == [(h, n) for h in HOSTS for n in range(1, 151)]
    answer = await store.stub.ListHosts(api.ListHostsRequest())
    for host in answer.hosts:
        assert (host.batch_count, host.event_count, host.gap_count) == (150, 150, 15)
        assert [(c.last, c.settled_through, list(c.flags)) for c in host.chains] == [(150, 150, [])]
        request = api.VerifyCustodyRequest(host_id=host.host_id)
        report = await store.stub.VerifyCustody(request)
        assert report.intact, report
        assert report.chains[0].signed_count == 150


async def test_killed_stores_and_databases_lose_nothing_and_double_nothing(killable, mongod, tls):
    await until_serving(killable.channel.get())
    key = KEY.public_key().public_bytes_raw()
    chains = {host_id: a_long_chain(host_id) for host_id in HOSTS}
    acknowledged = {host_id: [] for host_id in HOSTS}
    shipping = asyncio.gather(
        *(
            ship(killable, tls.host(h, signing_key=key), h, chain, acknowledged[h])
            for h, chain in chains.items()
        )
    )

    async def until_further(amount):
        goal = sum(map(len, acknowledged.values())) + amount
        async with asyncio.timeout(60):
            while sum(map(len, acknowledged.values())) < goal:
                await asyncio.sleep(0.005)

    for victim in (killable, mongod, killable):
        await until_further(60)
        await asyncio.to_thread(victim.kill)
        victim.start()
    breaks = await shipping
    assert sum(breaks) > 0
    await check_all_there(killable, mongod.url)


async def test_without_mongodb_it_waits_says_so_and_recovers_by_itself(killable, mongod, tls):
    mongod.kill()
    options = [("grpc.ssl_target_name_override", "store.nightherd"), ("grpc.enable_retries", 0)]
    credentials = tls.identity("gateway").channel_credentials()
    async with aio.secure_channel(killable.address, credentials, options) as channel:
        ask = StoreServiceStub(channel).ListHosts
        with pytest.raises(aio.AioRpcError) as refused:
            await ask(api.ListHostsRequest(), timeout=60, wait_for_ready=True)
        health = await HealthStub(channel).Check(HealthCheckRequest())
    assert refused.value.code().name == "UNAVAILABLE"
    assert "MongoDB" in refused.value.details()
    assert health.status == HealthCheckResponse.NOT_SERVING
    async with asyncio.timeout(60):
        while "MongoDB does not answer" not in killable.log_file.read_text():
            await asyncio.sleep(0.1)
    assert killable.process.poll() is None
    mongod.start()
    await until_serving(killable.channel.get(), timeout_s=60)
    async with Deliverer(killable.address, tls.host(HOSTS[0]), HOSTS[0]) as stream:
        await stream.hello([CHAIN])
        assert len(await stream.send(a_chain([None] * 3, host_id=HOSTS[0]))) == 3
        # The open stream is ended in order; nobody waits for an agent to hang up.
        ending = asyncio.create_task(asyncio.to_thread(killable.kill, signal.SIGTERM))
        with pytest.raises(aio.AioRpcError) as ended:
            await stream._read()
        assert "stopping" in ended.value.details()
        assert await ending == 0


async def test_a_number_never_settles_over_one_that_was_not_stored(mongo_url):
    """Group 1 fails, group 2 of the same stream would succeed: it must not be stored."""
    from chassis.tls import Peer
    from delivery.checks import Limits, check
    from delivery.receiver import Session
    from services.store.appender import Appender, NotStoredError
    from services.store.repository.days import Days
    from services.store.repository.inserts import Inserts

    class OnceAway(Inserts):
        away = True

        async def append(self, group):
            if self.away:
                self.away = False
                raise mongo.AutoReconnect("away for a moment")
            return await super().append(group)

    from services.store.repository.chains import Chains
    from services.store.repository.findings import Findings
    from services.store.repository.hosts import Hosts
    from services.store.repository.incidents import Incidents
    from services.store.repository.sessions import Sessions

    client = mongo.connect(mongo_url)
    database = client[f"settle_{os.getpid()}"]
    chains = Chains(database)
    appender = Appender(
        OnceAway(database, Days(database)),
        chains,
        Hosts(database),
        Findings(database, Incidents(database)),
        Sessions(database),
        most=1,
    )
    running = asyncio.create_task(appender.run())
    peer = Peer("host", HOSTS[0], "default")
    sealed = a_chain([None] * 3, host_id=HOSTS[0])
    checked = [check(batch, peer, Limits()) for batch in sealed]
    session = Session(peer, HOSTS[0], pb.Hello())
    results = await asyncio.gather(
        *(appender.append(session, one) for one in checked), return_exceptions=True
    )
    assert [type(r) for r in results] == [NotStoredError] * 3
    assert await chains.settled(HOSTS[0], [CHAIN]) == {CHAIN: 0}
    again = Session(peer, HOSTS[0], pb.Hello())
    await asyncio.gather(*(appender.append(again, one) for one in checked))
    assert await chains.settled(HOSTS[0], [CHAIN]) == {CHAIN: 3}
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await client.drop_database(database.name)
    client.close()


@pytest.mark.parametrize("fault", ["port", "certificate", "url"])
def test_what_prevents_the_start_is_said_in_one_line(tls, tmp_path, fault):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1] if fault == "port" else 0
        folder = tmp_path if fault == "certificate" else tls.folder("store")
        url = "mongodb://%zz" if fault == "url" else "mongodb://127.0.0.1:1"
        store = Process(url, folder, port, tmp_path / "log")
        store.start()
        assert store.process.wait(timeout=60) == 1
    said = (tmp_path / "log").read_text().strip().splitlines()
    assert said[-1].startswith("store: cannot start: ")
    assert not any(line.startswith("Traceback") for line in said)
