"""All children of one supervisor: started one after the other, stopped in reverse."""

import asyncio
from collections.abc import Awaitable, Callable

from cli import leftovers
from cli.children import Child, FalseStartError, Program
from cli.errors import UpError
from cli.homes import Home

START_S = 60.0
LAST_LINES = 10


class Family:
    """The programs of one installation."""

    def __init__(self, home: Home) -> None:
        """Nothing is started yet."""
        self._home = home
        self._children: list[Child] = []

    async def start(self, program: Program, ready: Callable[[], Awaitable[bool]]) -> None:
        """Start a program, say so, and wait until it does its work.

        Raises:
            UpError: it does not; with the end of what it wrote.
        """
        print(f"starting {program.name}", flush=True)
        log_file = self._home.logs / f"{program.name}.log"
        child = Child(program, log_file, ready, self._note)
        self._children.append(child)
        await child.start()
        try:
            await child.until_ready(START_S)
        except TimeoutError:
            why = f"did not begin to work within {START_S:.0f} s"
        except FalseStartError:
            why = "ends at once"
        else:
            return
        last = await asyncio.to_thread(self._last_lines, program.name)
        raise UpError(f"{program.name} {why}; the end of {log_file}:\n{last}")

    async def stop(self) -> None:
        """Stop all in order, the last one first."""
        for child in reversed(self._children):
            await child.stop()

    def _note(self) -> None:
        leftovers.note(self._home, {each.program.name: each.pid for each in self._children})

    def _last_lines(self, name: str) -> str:
        try:
            text = (self._home.logs / f"{name}.log").read_text("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LAST_LINES:])
