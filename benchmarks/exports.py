"""Exports end to end: stored batches through store, gateway and TLS to a client that counts."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Self

from benchmarks import usage
from benchmarks.backend import DATABASE, Backend
from benchmarks.history import History
from benchmarks.live_agent import ROOT, program, stop
from benchmarks.results import CannotRun, Result
from chassis import mongo
from chassis.authority import local_names
from services.store.repository.day_collections import names_of_days
from services.store.repository.days import Days
from services.store.repository.inserts import Inserts

EVENTS, QUICK_EVENTS = 5_000_000, 500_000
TARGETS = {"csv": 90_000, "ndjson": 150_000}
GROWTH_MB = 50
PASSWORD = "benchmark"
_START_S = 60.0


class Gateway:
    """A gateway before a backend's store, as a process."""

    def __init__(self, backend: Backend) -> None:
        folder = backend.folder / "people"
        backend.authority.issue(folder, "gateway", names=local_names())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.ca = folder / "ca.pem"
        self._process = program(
            "gateway",
            log=backend.folder / "gateway.log",
            environment={
                "NIGHTHERD_GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
                "NIGHTHERD_GATEWAY_TLS_DIR": str(folder),
                "NIGHTHERD_GATEWAY_STORE": backend.address,
                "NIGHTHERD_MONGO_URL": backend.mongo_url,
                "NIGHTHERD_ADMIN_PASSWORD": PASSWORD,
                "NIGHTHERD_LOG_LEVEL": "warning",
            },
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _START_S
        # A question of the usual kind: checking a password and reaching the store take memory too.
        while self._download("nightherd/hosts").wait():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise CannotRun("the gateway did not start")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        stop(self._process)

    def _download(self, path: str) -> subprocess.Popen[str]:
        command = ["benchmarks.download", str(self.ca), str(self.port), PASSWORD, f"/api/v1/{path}"]
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def export(
        self, form: str, watched: tuple[int, ...]
    ) -> tuple[float, dict[int, float], dict[int, float]]:
        """Return seconds of an export, the most memory of each process, and that of renderers."""
        client = self._download(f"nightherd/export/{form}")
        most = dict.fromkeys(watched, 0.0)
        renderers: dict[int, float] = {}
        while client.poll() is None:
            for pid in watched:
                most[pid] = max(most[pid], usage.memory_mb(pid)["VmRSS"])
            for pid in usage.children(self.pid):
                with contextlib.suppress(OSError, KeyError):
                    # Between fork and exec a child looks like the gateway itself.
                    if b"gateway.rendering" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                        continue
                    renderers[pid] = max(renderers.get(pid, 0.0), usage.memory_mb(pid)["VmHWM"])
            time.sleep(0.25)
        said = client.stdout.read().split() if client.stdout else []
        if client.returncode or not said:
            raise CannotRun(f"the export of {form} failed")
        return float(said[2]), most, renderers


def run(*, quick: bool) -> Iterator[Result]:
    """Yield rates and growth of memory; 5,000,000 events, or 500,000 when `quick`."""
    count = QUICK_EVENTS if quick else EVENTS
    with Backend() as backend:
        stored = asyncio.run(_store(backend.mongo_url, count))
        print(f"  {stored} events stored", flush=True)
        with Gateway(backend) as gateway:
            watched = (backend.pids[1], gateway.pid)
            growth = beside = 0.0
            for form, target in TARGETS.items():
                seconds = []
                for _ in range(3 if quick else 1):
                    before = {pid: usage.memory_mb(pid)["VmRSS"] for pid in watched}
                    meters = [usage.Meter(pid) for pid in watched]
                    took, most, renderers = gateway.export(form, watched)
                    seconds.append(took)
                    growth = max(growth, *(most[pid] - before[pid] for pid in watched))
                    beside = max(beside, sum(renderers.values()))
                    cpu_us = [meter.percent(1) / 100 / stored * 1e6 for meter in meters]
                    print(
                        *(f"{most[pid] - before[pid]:.0f}" for pid in watched),
                        f"  {form}: {stored / took:.0f} rows/s; CPU a row: store {cpu_us[0]:.2f} "
                        f"us, gateway {cpu_us[1]:.2f} us; grown {growth:.0f} MB",
                        flush=True,
                    )
                yield Result(f"store.{form}.rows_per_s", stored / median(seconds), "rows/s", target)
            yield Result("store.export.rss_growth_mb", growth, "MB", GROWTH_MB)
            yield Result("store.export.renderers_mb", beside, "MB")


async def _store(url: str, count: int) -> int:
    """Store a day of events; return how many they are."""
    client = mongo.connect(url)
    try:
        database = client[DATABASE]
        history = History(count)
        await history.store(Inserts(database, Days(database)))
        rows = [
            row["n"]
            for name in await names_of_days(database)
            async for row in client[DATABASE][name].aggregate(
                [{"$group": {"_id": None, "n": {"$sum": "$e"}}}]
            )
        ]
        return sum(rows)
    finally:
        client.close()
