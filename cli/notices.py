"""What a child says of itself, as sd_notify(3) does: that it is ready, and how it fares."""

import asyncio
import contextlib
import secrets
import socket

MOST_BYTES = 4096
MOST_VALUE = 200
LEVEL = "X_NIGHTHERD_LEVEL"
KNOWN = ("READY", "STATUS", LEVEL)


class Notices:
    """A socket of our own that one child knows by $NOTIFY_SOCKET."""

    def __init__(self) -> None:
        """Listen; close afterwards."""
        # Abstract: no file to clear away, no path that could be too long.
        self.address = f"@nightherd-{secrets.token_hex(16)}"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind("\0" + self.address[1:])
        asyncio.get_running_loop().add_reader(self._sock, self._read)
        self._said: dict[str, str] = {}

    async def is_ready(self) -> bool:
        """Whether it said once that it is ready."""
        return self._said.get("READY") == "1"

    @property
    def status(self) -> str:
        """The last sentence it said; empty: none."""
        return self._said.get("STATUS", "")

    @property
    def level(self) -> str:
        """The level at which an agent watches; empty: it did not say."""
        return self._said.get(LEVEL, "")

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            said = self._sock.recv(MOST_BYTES).decode("utf-8", "backslashreplace")
            for line in said.splitlines():
                name, _, value = line.partition("=")
                if name in KNOWN:
                    printable = (each if each.isprintable() else "?" for each in value)
                    self._said[name] = "".join(printable)[:MOST_VALUE]

    def close(self) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
