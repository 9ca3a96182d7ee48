"""Processes that render large exports beside the gateway: it stays free, and every core counts.

An export has its own, from when it turns out to be large until it ends: idle gateways have none.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from gateway.problems import BrokenOffError
from gateway.rendering import LENGTH, TALLY, Setup, Tally, framed

WAITING = 2
"""Parts that each process has to do, the one it works on included."""
LIMIT_BYTES = 2 << 20
"""Kept of what one has done while another is read: more than a part, else they wait in turns."""


class Renderers:
    """Lends out so many processes in all."""

    def __init__(self, most: int) -> None:
        """`most`: over all exports; 0: exports are rendered in the gateway."""
        self._free = most
        self._ending = set[asyncio.Task[None]]()

    async def close(self) -> None:
        """Wait until the processes of the last exports are gone."""
        if self._ending:
            await asyncio.wait(self._ending)

    @contextlib.asynccontextmanager
    async def lent(self, setup: Setup) -> AsyncIterator["Lent | None"]:
        """Yield processes for one export; None when none is free."""
        count, processes = self._free, list[Process]()
        self._free -= count
        try:
            for _ in range(count):
                processes.append(await _started(setup))
            yield Lent(processes) if processes else None
        finally:
            self._free += count
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            # A task of its own: who was cancelled may not wait for anything any more.
            ending = asyncio.create_task(_ended(processes))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


async def _ended(processes: list[Process]) -> None:
    for process in processes:
        # Reads what is left, little: without, its pipe would stay open.
        await process.communicate()


async def _started(setup: Setup) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.rendering"),
        stdin=PIPE,
        stdout=PIPE,
        limit=LIMIT_BYTES,
        # None of our secrets; the same code, wherever it lies.
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if process.stdin is not None:
        process.stdin.write(setup.frame())
    return process


class Lent:
    """Renders parts in several processes; what they give comes in the order of the parts."""

    def __init__(self, processes: list[Process]) -> None:
        """Use `processes`, each set up."""
        self._processes = processes
        self.tally = Tally()
        """What came, as whoever rendered it says too."""

    async def render(self, parts: AsyncIterator[tuple[bytes, int]]) -> AsyncGenerator[bytes, None]:
        """Yield parts of the store's stream, rendered; each is serialised, and how many batches.

        Raises:
            BrokenOffError: a process ended, or handed on other than it says.
        """
        under_way: deque[tuple[Process, int]] = deque()
        number = 0
        async for part, batches in parts:
            process = self._processes[number % len(self._processes)]
            number += 1
            if process.stdin is None:
                raise BrokenOffError("a renderer has no input")
            # Not drained: one that waits to be read would wait for ever. WAITING is the bound.
            process.stdin.write(framed(part))
            under_way.append((process, batches))
            if len(under_way) == WAITING * len(self._processes):
                async for piece in self._answer(*under_way.popleft()):
                    yield piece
        for one in under_way:
            async for piece in self._answer(*one):
                yield piece

    async def _answer(self, process: Process, batches: int) -> AsyncIterator[bytes]:
        source = process.stdout
        if source is None:
            raise BrokenOffError("a renderer has no output")
        pieces = size = 0
        try:
            while length := LENGTH.unpack(await source.readexactly(LENGTH.size))[0]:
                piece = await source.readexactly(length)
                pieces, size = pieces + 1, size + length
                yield piece
            said = Tally(*TALLY.unpack(await source.readexactly(TALLY.size)))
        except asyncio.IncompleteReadError as error:
            raise BrokenOffError("a renderer ended") from error
        if (said.pieces, said.size, said.batches) != (pieces, size, batches):
            raise BrokenOffError("a renderer rendered less than it was given, or handed on less")
        self.tally.add(said)
