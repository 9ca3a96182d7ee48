"""All children of one supervisor: started one after the other, stopped in reverse."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from cli import leftovers
from cli.children import Child, FalseStartError, Program
from cli.errors import UpError
from cli.homes import Home

START_S = 300.0
"""An emulated host takes a minute where others take a second. What ends at once does not wait."""
PATIENCE_S = 20.0
"""How often it is said that somebody is still waited for."""
LAST_LINES = 10
Ready = Callable[[], Awaitable[bool]]


class Family:
    """The programs of one installation."""

    def __init__(self, home: Home) -> None:
        """Nothing is started yet."""
        self._home = home
        self._children: list[Child] = []
        self.stopping = ""
        """The program that is waited for at the end."""

    async def start(self, program: Program, ready: Ready) -> None:
        """Start a program, say so, and wait until it does its work.

        Raises:
            UpError: it does not; with the end of what it wrote.
        """
        print(f"starting {program.name}", flush=True)
        child = Child(program, self._home.logs / f"{program.name}.log", ready, self._note)
        self._children.append(child)
        await child.start()
        await self._until(child, ready, "did not begin to work")

    async def until(self, name: str, ready: Ready, otherwise: str) -> None:
        """Wait for something further of a program that was started.

        Raises:
            UpError: it ends instead, or not in time; `otherwise` says what it did not do.
        """
        child = next(each for each in self._children if each.program.name == name)
        await self._until(child, ready, otherwise)

    async def _until(self, child: Child, ready: Ready, otherwise: str) -> None:
        name = child.program.name
        telling = asyncio.create_task(self._tell(name))
        try:
            await child.until_ready(START_S, ready)
        except TimeoutError:
            why = f"{otherwise} within {START_S:.0f} s"
        except FalseStartError:
            why = "ends at once"
        else:
            return
        finally:
            telling.cancel()
        last = await asyncio.to_thread(self._last_lines, name)
        log_file = self._home.logs / f"{name}.log"
        raise UpError(f"{name} {why}; the end of {log_file}:\n{last}")

    async def _tell(self, name: str) -> None:
        """Say now and then what is waited for, so that a slow start is not taken for none."""
        waited_s = 0.0
        while True:
            await asyncio.sleep(PATIENCE_S)
            waited_s += PATIENCE_S
            print(f"still waiting for {name} ({waited_s:.0f} s)", flush=True)

    async def stop(self) -> None:
        """Stop all in order, the last one first; say what took long."""
        for child in reversed(self._children):
            self.stopping, began = child.program.name, time.monotonic()
            await child.stop()
            print(f"stopped {self.stopping} ({time.monotonic() - began:.1f} s)", flush=True)
        self.stopping = ""

    def _note(self) -> None:
        leftovers.note(self._home, {each.program.name: each.pid for each in self._children})

    def _last_lines(self, name: str) -> str:
        try:
            text = (self._home.logs / f"{name}.log").read_text("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LAST_LINES:])
