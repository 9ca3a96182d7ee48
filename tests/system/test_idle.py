"""An idle installation makes next to no events of its own, also with the store away."""

import os
import time
from pathlib import Path

import pytest

from tests.system.running import Running, wait

MOST_A_MINUTE = 60
"""Events that everything `up` runs may make in a minute of idleness, folded repeats counted once."""

OF_OTHERS = {"kernelChange", "fileHash", "mountChange", "connect", "listen"}
"""Kinds that may be of any other program on this machine, when nobody is known to have made one."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
]


def own_events(running: Running, since: float, until: float) -> list[str]:
    """Kinds of events that our own programs made, or that nobody made, in a span of time."""
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    own = {*running.pids().values(), running.process.pid}
    span = {
        "from": time.strftime(stamp, time.gmtime(since)),
        "to": time.strftime(stamp, time.gmtime(until)),
    }
    kinds = []
    for event, image in running.events(**span):
        above = {a.get("pid") for a in (image or {}).get("ancestors", [])}
        if image is None and OF_OTHERS & event.keys():
            continue
        if image is None or image["pid"] in own or own & above:
            kinds += [k for k in event if k[0].islower() and isinstance(event[k], dict)]
    return kinds


def changes(running: Running, path: Path) -> list[dict]:
    return [
        change
        for event, _ in running.events()
        for change in event.get("fileChange", {}).get("changes", [])
        if change["path"] == str(path)
    ]


@pytest.mark.parametrize(
    "seconds",
    [10, pytest.param(300, marks=[pytest.mark.drill, pytest.mark.timeout(1000)])],
)
def test_the_rate_stays_flat_and_low_with_the_store_and_without(tmp_path, seconds):
    running = Running(Path(f"{tmp_path}/home")).until_up()
    try:
        time.sleep(30)  # the start is over, on a busy machine too
        began = time.time()
        time.sleep(seconds)
        with running.paused("store"):
            without = time.time()
            time.sleep(seconds)
        ended = time.time()
        wait(lambda: running.get("nightherd/health")["store"] == "serving", 60)
        # What was collected until then is sealed with what comes after it.
        running.soon(lambda: changes(running, running.hurry / "up"))
        most = MOST_A_MINUTE * seconds / 60
        idle, away = own_events(running, began, without), own_events(running, without, ended)
        print(f"\n{seconds} s each: {len(idle)} events with the store, {len(away)} without")
        assert len(idle) <= most, sorted(idle)
        assert len(away) <= most, sorted(away)
    finally:
        running.close()
