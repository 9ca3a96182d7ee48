"""How far chains are settled: in order within a stream, written down now and then."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from chassis.mongo import PyMongoError
from services.detector.repository import Chain, Repository

log = structlog.get_logger()


@dataclass(slots=True)
class _Step:
    """One batch under way."""

    number: int
    done: bool = False


class Line:
    """The batches of one chain in one stream, in the order in which they came."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._steps: deque[_Step] = deque()

    def enter(self, number: int) -> _Step:
        """Note that a batch is under way."""
        step = _Step(number)
        self._steps.append(step)
        return step

    def finish(self, step: _Step) -> int:
        """Note that it is done; return the last number before which nothing is under way, or 0."""
        step.done = True
        settled = 0
        while self._steps and self._steps[0].done:
            settled = self._steps.popleft().number
        return settled


class Progress:
    """Settled numbers of all chains, written in groups.

    What a crash forgets is judged again: the same occurrences, so nothing is recorded twice.
    """

    def __init__(self, repository: Repository, pause_s: float) -> None:
        """Write to `repository` every `pause_s` at most."""
        self._repository, self._pause_s = repository, pause_s
        self._waiting: dict[Chain, int] = {}
        self._asked = asyncio.Event()

    def settled(self, chain: Chain) -> int:
        """Return what is settled but not written yet; 0 when nothing is."""
        return self._waiting.get(chain, 0)

    @asynccontextmanager
    async def step(self, line: Line, chain: Chain, number: int) -> AsyncIterator[None]:
        """Do a batch's work; it is settled once it and all before it in its stream are done.

        A batch that fails stays under way for ever: nothing behind it in its stream is settled.
        """
        step = line.enter(number)
        yield
        settled = line.finish(step)
        if settled:
            self._waiting[chain] = max(settled, self._waiting.get(chain, 0))
            self._asked.set()

    async def run(self) -> None:
        """Write until cancelled, and once more then."""
        try:
            while True:
                await self._asked.wait()
                await asyncio.sleep(self._pause_s)
                await self.flush()
        finally:
            with suppress(PyMongoError):
                await self._repository.settle(self._waiting)

    async def flush(self) -> None:
        """Write what waits; what cannot be written waits on."""
        self._asked.clear()
        writing = dict(self._waiting)
        try:
            await self._repository.settle(writing)
        except PyMongoError as error:
            log.warning("settled numbers not written", error=str(error)[:200])
            self._asked.set()
            return
        for chain, number in writing.items():
            if self._waiting.get(chain) == number:
                del self._waiting[chain]
