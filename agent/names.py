"""Names of users and groups, without ever waiting for them in the event loop."""

import asyncio
import os
import pwd
from pathlib import Path
from typing import Protocol

PASSWD = Path("/etc/passwd")
MOST = 100_000


class Names(Protocol):
    """uid -> name."""

    def __getitem__(self, uid: int) -> str:
        """Return the name, "" when it is not known."""


class UserNames:
    """uid -> name: /etc/passwd at once, other sources (LDAP, sss) from a thread."""

    def __init__(self, passwd: Path = PASSWD) -> None:
        """Read `passwd`, again whenever it changes."""
        self._passwd = passwd
        self._stamp: tuple[int, int, int] | None = None
        self._local: dict[int, str] = {}
        self._elsewhere: dict[int, str] = {}
        self._asked: set[int] = set()
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it changed. Cheap enough for every tick."""
        try:
            status = os.stat(self._passwd)  # noqa: PTH116  (half the cost of Path.stat)
        except OSError:
            return
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        names: dict[int, str] = {}
        try:
            lines = self._passwd.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            fields = line.split(b":")
            if len(fields) > 2 and fields[2].isdigit():  # noqa: PLR2004  (name:password:uid)
                names.setdefault(int(fields[2]), fields[0].decode("utf-8", "replace"))
        self._local = names
        self._elsewhere.clear()
        self._asked.clear()

    def __getitem__(self, uid: int) -> str:
        """Return the name, or "" while it is not known; then it is asked for meanwhile."""
        name = self._local.get(uid)
        if name is not None:
            return name
        if uid not in self._elsewhere and uid not in self._asked:
            self._ask(uid)
        return self._elsewhere.get(uid, "")

    def _ask(self, uid: int) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside the agent's loop (tests, tools): only the file counts
            return
        if len(self._asked) >= MOST:
            self._asked.clear()
        self._asked.add(uid)
        loop.run_in_executor(None, self._look_up, uid)

    def _look_up(self, uid: int) -> None:
        try:
            self._elsewhere[uid] = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            self._elsewhere[uid] = ""
