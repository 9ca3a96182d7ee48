"""How long a replay waits for those who should take it: a person is there, and wants to know."""

import asyncio
import sys
import time
from collections.abc import Mapping

from agent.ship import Shipper
from agent.spool import Spool

SAID_AFTER_S = 2.0
STALLED_S = 300.0
"""Who was reached may be busy, or be started again."""
POLL_S = 0.05


class NotTakenError(Exception):
    """A receiver is not reached, or takes nothing more; says which, where, and what to do."""


class Patience:
    """Watches whether each receiver moves."""

    def __init__(self, addresses: Mapping[Shipper, str], spool: Spool, wait_s: float) -> None:
        """Watch those at `addresses`; wait `wait_s` for the first answer."""
        self._addresses, self._spool = addresses, spool
        self._wait_s, self._stalled_s = wait_s, max(wait_s, STALLED_S)
        now = time.monotonic()
        self._moved = dict.fromkeys(addresses, (0, now))

    async def until_reached(self) -> None:
        """Return when each has answered; say so when that takes long.

        Raises:
            NotTakenError: one did not.
        """
        began, told = time.monotonic(), False
        while waiting := [each for each in self._addresses if not each.reached]:
            waited_s = time.monotonic() - began
            if waited_s >= self._wait_s:
                raise NotTakenError(self._unreached(waiting[0]))
            if not told and waited_s >= SAID_AFTER_S:
                told = True
                left = f"waiting up to {self._wait_s:.0f} s (--wait)"
                print(f"replay: {self._unreached(waiting[0])}; {left}", file=sys.stderr)  # noqa: T201
            await asyncio.sleep(POLL_S)

    def check(self) -> None:
        """Look whether each that is behind has taken something of late.

        Raises:
            NotTakenError: one has not.
        """
        now = time.monotonic()
        for shipper in self._addresses:
            cursor = self._spool.cursors[shipper.name]
            last, since = self._moved[shipper]
            if cursor > last or cursor >= self._spool.link.number:
                self._moved[shipper] = (cursor, now)
            elif now - since > self._stalled_s:
                how = "is connected, but takes nothing" if shipper.connected else "is gone"
                raise NotTakenError(
                    f"the {shipper.name} at {self._addresses[shipper]} {how}, for "
                    f"{now - since:.0f} s ({shipper.why or 'no reason given'}); the same command "
                    "goes on with what is left"
                )

    def _unreached(self, shipper: Shipper) -> str:
        address, why = self._addresses[shipper], shipper.why
        if "refused" in why.lower() and "PERMISSION" not in why:
            return f"nothing listens at {address} (the {shipper.name}): is Nightherd up? `make run`"
        why = why or "no answer"
        return f"the {shipper.name} at {address} does not take it: {why[:300]}"
