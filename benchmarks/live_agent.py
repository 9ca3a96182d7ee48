"""The real agent as a process, shipping to an acknowledging receiver in another."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from benchmarks.receiver import Received
from benchmarks.results import CannotRun
from benchmarks.usage import Meter
from chassis.authority import Authority
from nightherd.event.v1 import event_pb2 as events

ROOT = Path(__file__).resolve().parent.parent
_START_S = 60.0
_MARK_S = 60.0
_LOOK_S = 0.05

Told = list[tuple[events.Image, events.Event]]


def program(
    *arguments: str, log: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """Start a Python module of ours; what it prints goes to `log`."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=path | (environment or {}),
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )


def stop(process: subprocess.Popen, seconds: float = 20) -> None:
    """End a process in order; kill it when it does not."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class LiveAgent:
    """An agent that runs, watches `watched` beside its list, and has passed its self-test.

    Raises:
        CannotRun: It does not start, or not at the full level.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.watched = folder / "watched"
        self.watched.mkdir()
        self._processes: list[subprocess.Popen] = []
        self._received: Received | None = None
        self._marks = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            stop(process)
        if self._received is not None:
            self._received.close()

    @property
    def pid(self) -> int:
        """Of the agent."""
        return self._processes[1].pid

    def meter(self) -> Meter:
        """The agent's CPU from now on."""
        return Meter(self.pid)

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop the agent's process for a while."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _start(self) -> None:
        tls, log = self._folder / "tls", self._folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        environment = {
            "NIGHTHERD_AGENT_DIR": str(self._folder / "agent"),
            "NIGHTHERD_AGENT_TLS_DIR": str(tls),
            "NIGHTHERD_AGENT_STORE": address,
            "NIGHTHERD_AGENT_WATCH_PATHS": f'["{self.watched}"]',
        }
        keyed = subprocess.run(
            [sys.executable, "-m", "agent", "--print-signing-key"],
            env=environment | {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        authority = Authority.open(self._folder / "ca")
        host = {"host_id": uuid.uuid4().hex, "herd": "default"}
        authority.issue(tls, "host", **host, signing_key=bytes.fromhex(keyed.stdout.decode()))
        authority.issue(self._folder / "store", "store")
        kept = self._folder / "received"
        received = program(
            "benchmarks.receiver", str(self._folder / "store"), address, str(kept), log=log
        )
        self._processes.append(received)
        self._received = Received(kept)
        self._processes.append(program("agent", log=log, environment=environment))
        self._until(lambda _, event: event.agent_status.self_test_passed, _START_S, "self-test")

    def _until(
        self, true: Callable[[events.Image, events.Event], bool], seconds: float, what: str
    ) -> Told:
        """Collect what is received until `true` holds for one of it."""
        assert self._received is not None, "not started"  # a programming error
        told: Told = []
        deadline = time.monotonic() + seconds
        while True:
            fresh = list(self._received.more())
            told += fresh
            for _, event in fresh:
                if event.HasField("agent_status") and event.agent_status.level != events.LEVEL_FULL:
                    reasons = " ".join(event.agent_status.not_seen)
                    raise CannotRun(f"the agent does not work at the full level here: {reasons}")
            if any(true(image, event) for image, event in fresh):
                return told
            if any(process.poll() is not None for process in self._processes):
                raise CannotRun(f"the agent or its receiver ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise CannotRun(f"no {what} arrived in {seconds:.0f} s: {self._last_words()}")
            time.sleep(_LOOK_S)

    def _last_words(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-2000:]

    def settle(self) -> Told:
        """Wait until the agent has shipped all that happened until now; what it shipped.

        Two marks one after the other: within a tick, exits and losses come after file changes.
        """
        return self._mark() + self._mark()

    def _mark(self) -> Told:
        self._marks += 1
        mark = self.watched / f"mark-{self._marks}"
        subprocess.run(["/bin/sh", "-c", f"echo > {mark}"], check=True)
        return self._until(
            lambda _, event: any(c.path == bytes(mark) for c in event.file_change.changes),
            _MARK_S,
            "mark",
        )
