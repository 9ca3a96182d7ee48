"""Child processes: started and stopped in order, restarted with back-off, never left behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

log = structlog.get_logger()
LONGEST_PAUSE_S = 30.0
STABLE_S = 60.0
LOG_FILES = 3
WRONG_SETTINGS_STATUS = 2
MOST_FALSE_STARTS = 3
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class FalseStartError(Exception):
    """A program ends again and again before it does its work."""


@dataclass(frozen=True, slots=True)
class Program:
    """How one program is run."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: tuple[int, int] | None = None
    """(uid, gid) to run as; None: as we are."""
    stop_s: float = 30.0
    """How long it may take to stop in order before it is killed."""
    first_pause_s: float = 0.5
    """How long after its end it is started again; each further time twice as long."""
    log_bytes: int = 16 << 20
    """From which size on its log is followed by another."""


class Child:
    """One program that is kept running."""

    def __init__(
        self,
        program: Program,
        log_file: Path,
        ready: Callable[[], Awaitable[bool]],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is started yet.

        Args:
            program: what to run.
            log_file: where its output goes.
            ready: says whether it does its work.
            changed: called when it runs under another process id.
        """
        self.program, self._ready, self._changed = program, ready, changed
        self._log = RotatingFileHandler(
            log_file, maxBytes=program.log_bytes, backupCount=LOG_FILES, delay=True
        )
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.restarts = 0
        self._wrong_settings = False

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(self) -> None:
        """Start it and keep it running."""
        await self._spawn()
        self._keeping = asyncio.create_task(self._keep())

    async def until_ready(
        self, timeout_s: float, ready: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Wait until it does its work, or what `ready` says instead.

        Raises:
            TimeoutError: it did not within `timeout_s`.
            FalseStartError: it ended again and again, or does not like its settings.
        """
        async with asyncio.timeout(timeout_s):
            while not await (ready or self._ready)():
                if self._wrong_settings or self.restarts >= MOST_FALSE_STARTS:
                    raise FalseStartError
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stop it in order; kill it when it takes too long."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(self.program.stop_s):
                    await process.wait()
            except TimeoutError:
                log.warning("killed: it did not stop in time", child=self.program.name)
                process.kill()
                await process.wait()
        if self._keeping is not None:
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._log.close()

    async def _spawn(self) -> None:
        parent = os.getpid()

        def prepare() -> None:
            # Nobody is left behind when the supervisor is killed.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)

        uid, gid = self.program.user or (None, None)
        self._process = await asyncio.create_subprocess_exec(
            *self.program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(self.program.environment),
            # A group of its own: Ctrl-C reaches the supervisor only, which stops all in order.
            start_new_session=True,
            preexec_fn=prepare,
            user=uid,
            group=gid,
            extra_groups=[] if uid is not None else None,
        )
        self._changed()

    async def _keep(self) -> None:
        pause_s = self.program.first_pause_s
        while True:
            process, began = self._process, time.monotonic()
            status: int | None = None
            if process is not None:
                await self._copy_output(process)
                status = await process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > STABLE_S:
                pause_s = self.program.first_pause_s
            self.restarts += 1
            self._wrong_settings = status == WRONG_SETTINGS_STATUS
            log.warning(
                "ended; starting it again", child=self.program.name, status=status, in_s=pause_s
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
                return
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            try:
                await self._spawn()
            except OSError as error:  # no memory, no process to be had: it may pass
                log.error("cannot be started", child=self.program.name, error=str(error))  # noqa: TRY400
                self._process = None

    async def _copy_output(self, process: asyncio.subprocess.Process) -> None:
        """Write what the child prints to its log file, which is rotated by size."""
        stream = process.stdout
        if stream is None:
            return
        # However much comes at once, a log never grows far beyond its size.
        while chunk := await stream.read(min(65536, self._log.maxBytes)):
            # A full disk must not stop what the log is about.
            with contextlib.suppress(OSError):
                self._write(chunk.decode("utf-8", "backslashreplace"))

    def _write(self, text: str) -> None:
        handler = self._log
        if handler.stream is not None and handler.stream.tell() + len(text) >= handler.maxBytes:
            handler.doRollover()
        if handler.stream is None:  # not opened yet, or closed by the roll-over
            handler.stream = handler._open()  # noqa: SLF001
        handler.stream.write(text)
        handler.stream.flush()
