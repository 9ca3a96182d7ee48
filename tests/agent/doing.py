"""The agent's loop with only the kernel's own checkpoints, and processes that do things on demand."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.pipeline import Pipeline
from agent.sensors import OpenSensors
from agent.sensors.bpf import BpfSensor
from agent.sensors.psutil_poll import SnapshotSensor
from agent.sensors.watchlist import Entry, WatchList
from agent.spool import Spool
from agent.stages.fold import Made
from agent.stages.seal import Host, Sealer
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.builders import HOST

DEADLINE_SECONDS = 120
NOBODY = 65534
QUIET_SECONDS = 1.2
"""Longer than anything is collected."""
PREAMBLE = """
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
"""


class Doing:
    """A pipeline over eBPF programs, ticked by hand."""

    def __init__(self, folder: Path) -> None:
        self.bpf = BpfSensor()
        self.sensors = OpenSensors("full", [self.bpf, SnapshotSensor()])
        watch_list = WatchList([Entry("test", (b"/nowhere",), urgent=True)])
        spool = Spool(folder / "spool")
        sealer = Sealer(Host(HOST, "default", clock.boot_id(), "0"), KEY, spool.link)
        self.pipeline = Pipeline(self.sensors, watch_list, spool, sealer, lambda: None)
        self.pipeline.witness = self
        self.made: list[Made] = []
        self.pipeline.tick()

    def saw(self, made: Made) -> None:
        self.made.append(made)

    def close(self) -> None:
        self.pipeline.finish()
        self.sensors.close()

    def needs(self, *programs: str) -> None:
        """Skip the test where this kernel refuses a program."""
        for name in programs:
            if name in self.bpf.refused:
                pytest.skip(f"this kernel refuses {name}: {self.bpf.refused[name]}")

    def run(self, *command: object, **options) -> int:
        """Run a program to its end; return its pid."""
        child = subprocess.Popen([str(each) for each in command], **options)
        child.communicate(timeout=DEADLINE_SECONDS)
        return child.pid

    def do(self, code: str, *arguments: object, **options) -> int:
        """Run Python in a process of its own to its end, which must be good; return its pid."""
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", PREAMBLE + code, *map(str, arguments)], **options
        )
        child.communicate(timeout=DEADLINE_SECONDS)
        assert child.returncode == 0
        return child.pid

    def of(self, kind: str, pid: int) -> list[tuple[events.Image, events.Event]]:
        """(image, event) of one kind by a process, in order."""
        return [
            (made.image, made.event)
            for made in self.made
            if made.image is not None and made.image.pid == pid and made.kind == kind
        ]

    def first(self, kind: str, pid: int) -> tuple[events.Image, events.Event]:
        """Tick until a process did something of a kind."""
        self.until(lambda: self.of(kind, pid))
        return self.of(kind, pid)[0]

    def all(self, kind: str, pid: int) -> list[tuple[events.Image, events.Event]]:
        """Tick until all that a process did must have been told."""
        self.until(lambda: self.of("exit", pid))
        until = time.monotonic() + QUIET_SECONDS
        self.until(lambda: time.monotonic() > until)
        return self.of(kind, pid)

    def until(self, enough: Callable[[], object]) -> None:
        """Tick until there is enough; fails the test when that takes too long."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not enough():
            assert time.monotonic() < deadline, [made.event for made in self.made[-20:]]
            time.sleep(0.02)
            self.pipeline.tick()
