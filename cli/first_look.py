"""Whether this host's own agent sees: asked through the gateway, as anybody would ask."""

import asyncio
import datetime as dt
import time
from typing import Any

from cli import enrol
from cli.homes import Home
from cli.rest import Gateway, RestError

TOO_MANY = 429
SELF_TEST_S = 30.0
"""How long a self-test is waited for, once the services answer."""


class FirstLook:
    """Looks for the first status of an agent that is started now."""

    def __init__(self, home: Home, port: int) -> None:
        """Ask the gateway at `port`."""
        self._home, self._port = home, port
        self._began = dt.datetime.now(dt.UTC)
        self._first_s: float | None = None
        self.level = ""
        """The level at which it works; what the store knows of an earlier run may be another."""
        self.host: dict[str, Any] = {}
        """What the agent said of itself; empty: nothing yet."""

    async def succeeds(self) -> bool:
        """Whether the agent sees: its status came through the store after it was started."""
        if self._first_s is None:
            self._first_s = time.monotonic()
        waited = time.monotonic() - self._first_s > SELF_TEST_S
        try:
            host = await asyncio.to_thread(self._ask_for_host)
        except RestError as error:
            # Somebody guessed at the password until it was locked: no reason not to watch.
            return error.status == TOO_MANY and waited
        except OSError:
            return False
        if host is None:
            return False
        self.host = host
        heard = dt.datetime.fromisoformat(host["lastSeen"]) >= self._began
        known = heard and host["agentState"] in ("started", "running")
        # Without a passed self-test it goes on too: what is not seen is said in the greeting.
        passed = host["selfTestPassed"] and host["level"] == self.level
        return known and (passed or waited)

    def _ask_for_host(self) -> dict[str, Any] | None:
        gateway = Gateway(self._home, f"https://localhost:{self._port}")
        found, _ = gateway.get("nightherd/hosts", hostname=enrol.host_id(self._home))
        return found[0] if found else None
