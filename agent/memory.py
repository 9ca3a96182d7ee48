"""Gives memory back after a flood: what a burst of events took is not kept for ever."""

import ctypes
import gc
from pathlib import Path

import structlog

log = structlog.get_logger()
EASE_S = 10.0
"""How often it is looked at."""
GROWN_BYTES = 4 << 20
"""More than after the last time: less is not worth the look."""
_PAGE_BYTES = 4096
_STATM = Path("/proc/self/statm")


class Memory:
    """Looks after the memory of this process."""

    def __init__(self) -> None:
        """Take what is resident when it is first looked at as what is usual."""
        self._low_bytes = 0
        # Not every C library has it.
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def ease(self) -> None:
        """Give unused pages back when much was taken since the last time.

        The allocator keeps what was freed for the next burst. A host's memory is not the agent's:
        free pages between those in use are given back, which costs a few milliseconds.
        """
        before = resident_bytes()
        if self._low_bytes and before < self._low_bytes + GROWN_BYTES:
            self._low_bytes = min(self._low_bytes, before)
            return
        gc.collect()
        if self._trim is not None:
            self._trim(0)
        after = resident_bytes()
        if self._low_bytes:
            log.info("memory given back", before_bytes=before, after_bytes=after)
        self._low_bytes = after


def resident_bytes() -> int:
    """Return how much of this process is in memory."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
