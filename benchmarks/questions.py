"""The store's questions: first pages of every filter, facets, slices and free text over a day.

A day of events is stored in a MongoDB of our own; the real store answers over gRPC with mTLS. Times
are those of a client: from the question to the whole answer.
"""

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus

import grpc

from benchmarks import history
from benchmarks.history import DAY_S, START_S, History
from benchmarks.results import CannotRun, Result
from chassis import clock, mongo
from chassis.authority import Authority
from chassis.channel import Channel
from chassis.tls import Identity
from cli import mongod
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.store.repository.days import Days
from services.store.repository.hosts import Hosts
from services.store.repository.inserts import Inserts

EVENTS, QUICK_EVENTS = 10_000_000, 1_000_000
RUNS, QUICK_RUNS = 40, 15
PAGE_MS, TEXT_MS, DAY_MS = 200, 500, 1000
DATABASE = "nightherd_store"
PAIRS = ("user_kind", "user_effective_user", "user_path")
"""Two filters over everything: what matches both may be far apart, bodies are opened in vain."""
Ask = Callable[[random.Random], Awaitable[object]]


def run(*, quick: bool) -> Iterator[Result]:
    """Yield the results; 10,000,000 events, or 1,000,000 when `quick`."""
    yield from asyncio.run(_measured(quick=quick))


async def _measured(*, quick: bool) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="nh-q") as folder, contextlib.ExitStack() as closing:
        url = closing.enter_context(_mongod(Path(folder)))
        client = mongo.connect(url)
        closing.callback(client.close)
        days = Days(client[DATABASE])
        await days.prepare()
        await history.introduce(Hosts(client[DATABASE]))
        begun = time.monotonic()
        await History(QUICK_EVENTS if quick else EVENTS).store(Inserts(client[DATABASE], days))
        print(f"  stored in {time.monotonic() - begun:.0f} s", flush=True)
        async with _store(Path(folder), url) as stub:
            return await measure(stub, QUICK_RUNS if quick else RUNS)


async def measure(stub: object, runs: int) -> list[Result]:
    """Ask everything; return p95 of each question, of the worst filter and of the worst pair."""
    found: list[Result] = []
    worst = {"": 0.0, "pairs_": 0.0}
    for name, ask in questions(stub).items():
        p50, p95 = await _timed(ask, runs)
        print(f"  {name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms", flush=True)
        if name.partition("_")[0] in ("facets", "slices"):
            found.append(Result(f"store.{name}.p95_ms", p95, "ms", DAY_MS))
        elif name == "freetext":
            found.append(Result("store.freetext.p95_ms", p95, "ms", TEXT_MS))
        else:
            those = "pairs_" if name in PAIRS else ""
            worst[those] = max(worst[those], p95)
            found.append(Result(f"store.query.{name}.p95_ms", p95, "ms", PAGE_MS))
    found += [
        Result(f"store.query.{those}p95_ms", p95, "ms", PAGE_MS) for those, p95 in worst.items()
    ]
    return found


async def _timed(ask: Ask, runs: int) -> tuple[float, float]:
    rng = random.Random(7)
    await ask(rng)  # the first question of a kind finds caches cold
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        await ask(rng)
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    return taken[len(taken) // 2], taken[min(int(len(taken) * 0.95), len(taken) - 1)]


def questions(stub: object) -> dict[str, Ask]:
    """Return name -> question, with values that vary."""

    def page(make: Callable[[random.Random], dict[str, object]], *, ascending: bool = False) -> Ask:
        async def ask(rng: random.Random) -> object:
            asked = pb.SearchEventsRequest(filter=pb.EventFilter(**make(rng)), ascending=ascending)
            return await stub.SearchEvents(asked)

        return ask

    def count(*, anew: bool = False, **how: object) -> Ask:
        async def ask(rng: random.Random) -> object:
            asked = pb.SummariseEventsRequest(filter=pb.EventFilter(**_day()), **how)
            if anew:
                # Slices that nobody asked for before: nothing of it is remembered.
                asked.slice_seconds = 3600 + 60 * rng.randrange(1, 10_000)
            answer = await stub.SummariseEvents(asked)
            if not answer.complete:
                raise CannotRun("the summary of a day is not complete")
            return answer

        return ask

    rare = history.RARE
    facets = ["user", "service", "executable", "kind", "host"]
    return {
        "all": page(lambda _: {}),
        "all_oldest": page(lambda _: {}, ascending=True),
        "time": page(_some_time),
        "time_oldest": page(_some_time, ascending=True),
        "host": page(lambda rng: {"hosts": [_busy(rng)]}),
        "host_quiet": page(lambda rng: {"hosts": [_quiet(rng)]}),
        "host_time": page(lambda rng: {"hosts": [_busy(rng)], **_some_time(rng)}),
        "herd": page(lambda rng: {"herds": [rng.choice(["web", "database"])]}),
        "kind": page(lambda rng: {"kinds": [rng.choice(["exec", "connect", "file_change"])]}),
        "kind_rare": page(lambda _: {"kinds": ["account_change"]}),
        "user": page(lambda rng: {"users": [rng.choice(history.USERS)]}),
        "user_rare": page(lambda _: {"users": [rare["user"]]}),
        "user_kind": page(lambda rng: {"users": [rng.choice(history.USERS)], "kinds": ["connect"]}),
        "user_effective_user": page(
            lambda rng: {
                "users": [rng.choice(history.USERS)],
                "effective_users": [rng.choice(history.USERS)],
            }
        ),
        "user_path": page(
            lambda rng: {"users": [rng.choice(history.USERS)], "paths": [rng.choice(history.PATHS)]}
        ),
        "user_none": page(lambda rng: {"users": [f"nobody{rng.random()}"]}),
        "effective_user": page(lambda rng: {"effective_users": [rng.choice(history.USERS)]}),
        "service": page(lambda rng: {"services": [rng.choice(history.SERVICES)]}),
        "session": page(lambda rng: {"session_ids": [rng.randrange(1, 3000)]}),
        "session_rare": page(lambda _: {"session_ids": [history.RARE_SESSION]}),
        "path": page(lambda rng: {"paths": [rng.choice(history.PATHS)]}),
        "path_rare": page(lambda _: {"paths": [rare["path"]]}),
        "path_prefix": page(lambda rng: {"path_prefixes": [rng.choice(["/srv/", "/var/log/1"])]}),
        "path_prefix_rare": page(lambda _: {"path_prefixes": ["/etc/pass"]}),
        "executable": page(lambda rng: {"executables": [rng.choice(history.PROGRAMS)]}),
        "executable_rare": page(lambda _: {"executables": [rare["program"]]}),
        "sha256_rare": page(lambda _: {"sha256s": [history.RARE_SHA256.hex()]}),
        "sha256_none": page(lambda rng: {"sha256s": [rng.randbytes(32).hex()]}),
        "trait_rare": page(lambda _: {"traits": [events.TRAIT_MEMORY_FILE]}),
        "remote_address": page(lambda rng: {"remote_addresses": [f"10.0.0.{rng.randrange(250)}"]}),
        "host_user_path": page(
            lambda rng: {
                "hosts": [_busy(rng)],
                "users": ["root"],
                "path_prefixes": ["/var/log/"],
                "kinds": ["file_change"],
            }
        ),
        "freetext": page(_words_of_a_host),
        "facets": count(facets=facets),
        "facets_anew": count(facets=facets, anew=True),
        "slices": count(slice_seconds=3600),
        "slices_anew": count(anew=True),
    }


def _busy(rng: random.Random) -> str:
    return history.host_id(rng.randrange(history.BUSY))


def _quiet(rng: random.Random) -> str:
    return history.host_id(history.BUSY + rng.randrange(history.QUIET))


def _moment(second: float) -> object:
    return clock.to_timestamp(int(second * clock.NS))


def _day() -> dict[str, object]:
    return {"from_time": _moment(START_S), "to_time": _moment(START_S + DAY_S)}


def _some_time(rng: random.Random) -> dict[str, object]:
    begin = START_S + rng.random() * DAY_S * 0.9
    return {"from_time": _moment(begin), "to_time": _moment(begin + 3600)}


def _words_of_a_host(rng: random.Random) -> dict[str, object]:
    texts = ["--file /var/log/3.LOG", f"{rng.getrandbits(32):08x}", "wolf-IN-clothing", "bash"]
    return {"hosts": [_busy(rng)], "search": rng.choice(texts), **_day()}


@contextlib.contextmanager
def _mongod(folder: Path) -> Iterator[str]:
    found = mongod.find()
    if not found.binary:
        raise CannotRun("no mongod to start: " + "; ".join(found.said))
    data, at = folder / "db", folder / "m.sock"
    data.mkdir()
    process = subprocess.Popen(
        [
            found.binary,
            *("--dbpath", str(data), "--bind_ip", str(at), "--port", "27017"),
            *("--unixSocketPrefix", str(folder), "--networkMessageCompressors", "disabled"),
            *("--wiredTigerCacheSizeGB", "2", "--logpath", str(folder / "log")),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not at.exists():
            if process.poll() is not None:
                raise CannotRun(f"mongod ended with {process.returncode}")
            time.sleep(0.05)
        yield f"mongodb://{quote_plus(str(at))}/?directConnection=true"
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def _store(folder: Path, url: str, database: str = DATABASE) -> AsyncIterator[object]:
    authority = Authority.open(folder / "ca")
    for role in ("store", "gateway"):
        authority.issue(folder / role, role)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "NIGHTHERD_STORE_LISTEN": address,
        "NIGHTHERD_STORE_TLS_DIR": str(folder / "store"),
        "NIGHTHERD_STORE_DATABASE": database,
        "NIGHTHERD_MONGO_URL": url,
        "NIGHTHERD_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "services.store"]
    process = subprocess.Popen(command, env=os.environ | settings)  # noqa: ASYNC220  (it only starts)
    channel = Channel(address, Identity(folder / "gateway"), "store")
    try:
        stub = StoreServiceStub(channel.get())
        deadline = time.monotonic() + 30
        while True:
            try:
                await stub.ListHosts(pb.ListHostsRequest(), timeout=2)
                break
            except grpc.aio.AioRpcError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CannotRun(f"the store does not serve: {error.details()}") from error
                await asyncio.sleep(0.2)
        yield stub
    finally:
        await channel.close()
        process.terminate()
        process.wait()
