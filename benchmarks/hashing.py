"""What it costs to tell hashes: on the agent's side for each program that runs, and to read.

The side of the agent runs here, in this process, without sensors: what is measured is only what
hashing adds. sha256sum reads the same file in the same run.
"""

import hashlib
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from agent.hashing.hashing import Hashing
from agent.lines import Ran
from agent.pipeline import TICK_S
from agent.settings import Settings
from agent.stages.fold import Made
from benchmarks.results import Result
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

PERCENT: int = Settings.model_fields["hash_cpu_percent"].default
MOST_BYTES: int = Settings.model_fields["hash_bytes"].default
RATE = 1000
PROGRAMS = 20
"""Different ones that run again and again."""


def run(*, quick: bool) -> Iterator[Result]:
    """Measure, and yield the results."""
    with tempfile.TemporaryDirectory(prefix="nightherd-bench-") as name:
        folder = Path(name)
        yield from _reading(folder, 4 if quick else 12)
        yield from _meeting(folder, 3 if quick else 8)


def _reading(folder: Path, files: int) -> Iterator[Result]:
    """Files of the largest size, one after the other."""
    content = os.urandom(1 << 20) * (MOST_BYTES >> 20)
    paths = [folder / f"large-{number}" for number in range(files)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(4) + content[4:])
    del content
    began = time.process_time(), _children_s()
    subprocess.run(["sha256sum", *map(str, paths)], stdout=subprocess.DEVNULL, check=True)
    peer = _children_s() - began[1]
    hashing = Hashing(MOST_BYTES, PERCENT)
    try:
        _ran(hashing, b"/bin/true")
        _until(hashing, 1)
        child = psutil.Process(hashing.pid)
        started, used = time.monotonic(), sum(child.cpu_times()[:2])
        for path in paths:
            _ran(hashing, bytes(path))
        _until(hashing, files)
        cpu, seconds = sum(child.cpu_times()[:2]) - used, time.monotonic() - started
        rss = child.memory_info().rss
    finally:
        hashing.close()
    size = files * MOST_BYTES / 1e6
    yield Result("agent.hashing.worker.cpu_percent", 100 * cpu / seconds, "%", PERCENT * 1.2)
    yield Result("agent.hashing.worker.rate", size / seconds, "MB/s")
    yield Result(
        "agent.hashing.worker.cpu_ms_per_gb", 1e6 * cpu / size, "ms", None, 1e6 * peer / size
    )
    yield Result("agent.hashing.worker.rss_mb", rss / 1e6, "MB")


def _meeting(folder: Path, seconds: int) -> Iterator[Result]:
    """Programs that are known already, as most that run are."""
    paths = [folder / f"small-{number}" for number in range(PROGRAMS)]
    for path in paths:
        path.write_bytes(hashlib.sha256(bytes(path)).digest())
    made = [_made(bytes(path)) for path in paths]
    hashing = Hashing(MOST_BYTES, PERCENT)
    try:
        for path in paths:
            _ran(hashing, bytes(path))
        _until(hashing, PROGRAMS)
        ticks, each = int(seconds / TICK_S), int(RATE * TICK_S)
        began = time.process_time()
        for number in range(ticks):
            now = clock.boot_ns()
            for place in range(each):
                hashing.met(made[(number * each + place) % PROGRAMS], now)
            hashing.advance(now)
            time.sleep(TICK_S)
        cpu = time.process_time() - began
        began = time.process_time()
        for _ in range(ticks):
            hashing.advance(clock.boot_ns())
            time.sleep(TICK_S)
        idle = time.process_time() - began
    finally:
        hashing.close()
    yield Result("agent.hashing.exec_1000.cpu_percent", 100 * (cpu - idle) / seconds, "%", 1.5)


def _made(path: bytes) -> Made:
    image = events.Image(
        executable=path, exec_id=path.decode(), inode=Path(os.fsdecode(path)).stat().st_ino
    )
    return Made(Ran(image), events.Event(exec=events.Exec()))


def _ran(hashing: Hashing, path: bytes) -> None:
    hashing.met(_made(os.path.realpath(path)), clock.boot_ns())


def _until(hashing: Hashing, count: int) -> None:
    told = 0
    while told < count:
        told += len(hashing.advance(clock.boot_ns()))
        time.sleep(TICK_S)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
