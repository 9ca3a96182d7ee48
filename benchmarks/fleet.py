"""A fleet that never was: many agents at once, each with its own certificate, stream and chain.

    python -m benchmarks fleet                      1000 hosts, 5 events/s each, two minutes
    python -m benchmarks.fleet --hosts 200 --rate 50 --seconds 30

What is simulated is the sender only: streams, batches, signatures, TLS, store and MongoDB are real.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks import sealed
from benchmarks.backend import Backend
from benchmarks.live_agent import ROOT
from benchmarks.results import CannotRun, Result
from benchmarks.senders import Sender, request_of
from chassis.tls import Identity

HOSTS, RATE, SECONDS = 1000, 5.0, 120.0
_WORKERS = 2
_LINGER_S = 10.0
"""An agent seals after ten seconds, or at 500 events: see agent/stages/seal.py."""
_MOST_EVENTS = 500
_GRACE_S = 30.0
_CONNECTS_PER_S = 25
"""Of one worker. Agents come back one after another, with jitter."""
_ATTEMPTS = 6


def run(*, quick: bool) -> Iterator[Result]:
    """Measure a fleet of 1000 hosts."""
    found = measure(HOSTS, RATE, 20.0 if quick else SECONDS)
    yield Result("store.fleet_1000.p50_ms", found["p50_ms"], "ms")
    yield Result("store.fleet_1000.p99_ms", found["p99_ms"], "ms", 2000)
    yield Result("store.fleet_1000.lost", found["lost"], "events", 0)
    yield Result("store.fleet_1000.rss_mb", found["rss_mb"], "MB")


def measure(hosts: int, rate: float, seconds: float) -> dict[str, float]:
    """Return what a fleet of `hosts`, each with `rate` events a second, met.

    accepted: events acknowledged; stored: events the store counts; lost: sent and not stored;
    p50_ms, p99_ms: from sending a batch to its receipt; rss_mb: of the store at the end; CPU of
    mongod and the store for each event, connecting included.
    """
    with Backend() as backend:
        names = [f"fleet-{place:05d}" for place in range(hosts)]
        keys = {}
        for name in names:
            chain = sealed.Chain(name)
            backend.host(name, chain.public_key)
            keys[name] = chain.key.private_bytes_raw().hex()
        (backend.folder / "keys.json").write_text(json.dumps(keys))
        began = [_cpu_s(pid) for pid in backend.pids]
        shares = [names[place::_WORKERS] for place in range(_WORKERS)]
        workers = [_worker(backend, share, rate, seconds) for share in shares]
        told: list[dict[str, Any]] = []
        for worker in workers:
            output, errors = worker.communicate(timeout=seconds * 3 + 300)
            if worker.returncode:
                raise CannotRun(f"a part of the fleet fell over: {errors[-1000:]}")
            told.append(json.loads(output))
        cpu = [_cpu_s(pid) - before for pid, before in zip(backend.pids, began, strict=True)]
        latencies = sorted(each for one in told for each in one["latencies_s"])
        sent, accepted = (sum(one[name] for one in told) for name in ("sent", "accepted"))
        stored = backend.event_count()
        return {
            "sent": sent,
            "accepted": accepted,
            "stored": stored,
            "lost": sent - stored,
            "p50_ms": statistics.median(latencies) * 1000,
            "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
            "rss_mb": _rss_mb(backend.pids[1]),
            "mongod_us_per_event": cpu[0] / sent * 1e6,
            "store_us_per_event": cpu[1] / sent * 1e6,
        }


def _worker(
    backend: Backend, names: list[str], rate: float, seconds: float
) -> subprocess.Popen[str]:
    asked = {
        "address": backend.address,
        "folder": str(backend.folder),
        "names": names,
        "rate": rate,
        "seconds": seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fleet", "--worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None  # it was asked for
    process.stdin.write(json.dumps(asked))
    process.stdin.close()
    process.stdin = None
    return process


def _cpu_s(pid: int) -> float:
    """CPU that a process has used: Hellos and handshakes are part of what a fleet costs."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise CannotRun("the store ended")


async def _work(asked: dict[str, Any]) -> dict[str, Any]:
    folder = Path(asked["folder"])
    keys = json.loads((folder / "keys.json").read_text())
    each = max(1, min(_MOST_EVENTS, round(asked["rate"] * _LINGER_S)))
    bodies = sealed.bodies(64, each)
    connected = asyncio.Barrier(len(asked["names"]))
    latencies: list[float] = []
    sent = accepted = 0

    async def one(name: str) -> None:
        nonlocal sent, accepted
        chain = sealed.Chain(name, key=bytes.fromhex(keys[name]))
        draw = random.Random(name)
        pause = each / asked["rate"]
        identity = Identity(folder / "hosts" / name)
        await asyncio.sleep(draw.random() * len(asked["names"]) / _CONNECTS_PER_S)
        async with await _connected(asked["address"], identity, chain) as sender:
            await connected.wait()
            until = time.monotonic() + asked["seconds"]
            await asyncio.sleep(draw.random() * min(pause, asked["seconds"] / 2))
            number = 0
            while time.monotonic() < until:
                number += 1
                began = time.monotonic()
                await sender.send(request_of(chain.seal(draw.choice(bodies))), number)
                sent += each
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
            async with asyncio.timeout(_GRACE_S):
                await sender.until_settled(number)
            accepted += number * each
            latencies.extend(sender.latencies_s)

    async with asyncio.TaskGroup() as streams:
        for name in asked["names"]:
            streams.create_task(one(name))
    return {"sent": sent, "accepted": accepted, "latencies_s": latencies}


async def _connected(address: str, identity: Identity, chain: sealed.Chain) -> Sender:
    """Return a stream that is open; as agents do, it tries again when it is turned away."""
    for attempt in range(_ATTEMPTS):
        sender = Sender(address, identity, chain.host_id, chain.chain_id)
        try:
            await sender.connect()
        except grpc.aio.AioRpcError:
            await sender.close()
            await asyncio.sleep(2**attempt * random.uniform(0.5, 1))
        else:
            return sender
    raise CannotRun(f"{chain.host_id} could not connect")


def main() -> None:
    """Run a fleet of any size, or one worker of it."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--rate", type=float, default=RATE, help="events a second of each host")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(asyncio.run(_work(json.load(sys.stdin)))))
        return
    for name, value in measure(arguments.hosts, arguments.rate, arguments.seconds).items():
        print(f"{name:10} {value:12,.1f}")


if __name__ == "__main__":
    main()
