"""The process that hashes: started when it is needed, asked, and ended when it hangs."""

import os
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import structlog

from agent.hashing import worker

log = structlog.get_logger()
_PROGRAM: Final = Path(worker.__file__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker is waited for."""

    silence_s: float = 30.0
    """Without a word for so long, and not for want of a CPU, it waits for a dead disk."""
    pause_s: float = 60.0
    """From the start of one to the start of another."""
    stuck_s: float = 60.0
    """For a file that is looked at: what comes behind it is looked at by another thread then."""


class Child:
    """One worker process at a time, at the lowest priority that the kernel has."""

    def __init__(self, percent: int, patience: Patience) -> None:
        """Let it use `percent` of one CPU; nothing is started yet."""
        self._percent, self._patience = percent, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._started_s = -patience.pause_s
        self._heard_s = 0.0

    @property
    def pid(self) -> int:
        """Its process id; 0: none runs."""
        return self._process.pid if self._process is not None else 0

    def fileno(self) -> int:
        """Return the descriptor on which answers come; -1: none runs."""
        return self._connection.fileno() if self._connection is not None else -1

    def ask(self, number: int, file: int, size: int) -> bool:
        """Have an open file hashed; False: it takes no more, or none runs."""
        connection = self._connection or self._start()
        if connection is None:
            return False
        try:
            socket.send_fds(connection, [worker.QUESTION.pack(number, size)], [file])
        except BlockingIOError:
            return False
        except OSError:
            self.stop()
            return False
        return True

    def answers(self) -> list[tuple[int, int, bytes]]:
        """Return (number, status, SHA-256) of what came; one that is gone is forgotten."""
        found: list[tuple[int, int, bytes]] = []
        while self._connection is not None:
            try:
                message = self._connection.recv(worker.ANSWER.size)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if len(message) != worker.ANSWER.size:
                self.stop()
                break
            self._heard_s = time.monotonic()
            found.append(worker.ANSWER.unpack(message))
        return found

    def wait(self, other: int, timeout_s: float) -> None:
        """Wait until an answer comes, or something on the descriptor `other`."""
        waiting = [other] if self._connection is None else [other, self.fileno()]
        select.select(waiting, [], [], timeout_s)

    def hangs(self) -> bool:
        """Whether it was silent for too long although it had its turn, while it owes answers."""
        silence_s = time.monotonic() - self._heard_s
        if self._process is None or silence_s < self._patience.silence_s:
            return False
        try:
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            return True
        return state != b"R"

    def expect(self) -> None:
        """Count silence from now on: it was idle."""
        self._heard_s = time.monotonic()

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            # One that waits for a dead disk ends when the disk answers; nobody waits for that.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            self._process = None

    def _start(self) -> socket.socket | None:
        now = time.monotonic()
        if now - self._started_s < self._patience.pause_s:
            return None
        self._started_s = self._heard_s = now
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        command = [sys.executable, "-I", "-S", "-B", str(_PROGRAM), str(its.fileno())]
        try:
            with its:
                self._process = subprocess.Popen(  # noqa: S603  (our own program)
                    [*command, str(self._percent)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(its.fileno(),),
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            log.warning("hashing does not start", error=str(error))
            return None
        self._connection = ours
        with suppress(OSError):
            os.sched_setscheduler(self.pid, os.SCHED_IDLE, os.sched_param(0))
        with suppress(OSError, psutil.Error):
            psutil.Process(self.pid).ionice(psutil.IOPRIO_CLASS_IDLE)
        return ours
