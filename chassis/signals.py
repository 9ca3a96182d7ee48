"""When to stop."""

import asyncio
import signal


def terminated() -> asyncio.Event:
    """Return what is set on SIGTERM or SIGINT, from now on, again and again without further effect.

    Both are heard from the call on, also while the loop does not get to run.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    return stop


async def until_terminated() -> None:
    """Return on SIGTERM or SIGINT."""
    await terminated().wait()
