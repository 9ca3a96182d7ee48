"""How fast a host is read: back-pressure instead of errors."""

import asyncio
import time
from weakref import WeakValueDictionary


class Paces:
    """How fast each host may be read, over all its streams."""

    def __init__(self, per_second: int) -> None:
        """Allow `per_second` batches from one host."""
        self._per_second = per_second
        self._paces: WeakValueDictionary[str, Pace] = WeakValueDictionary()

    def of(self, host_id: str) -> "Pace":
        """Return the pace of a host; forgotten when its last stream ends."""
        pace = self._paces.get(host_id)
        if pace is None:
            pace = self._paces[host_id] = Pace(self._per_second)
        return pace


class Pace:
    """Slows reading down to a rate, so that one host cannot take a receiver for itself."""

    def __init__(self, per_second: int) -> None:
        """Allow `per_second`, and a second's worth at once."""
        self._gap_s = 1 / per_second
        self._burst_s = 1.0
        self._due = time.monotonic() - self._burst_s

    async def wait(self) -> None:
        """Return when the next batch may be read."""
        now = time.monotonic()
        self._due = max(self._due, now - self._burst_s) + self._gap_s
        if self._due > now:
            await asyncio.sleep(self._due - now)
