"""Tells whoever supervises this program how it fares, as sd_notify(3) does."""

import contextlib
import os
import socket


def notify(*assignments: str) -> None:
    """Send assignments, e.g. "READY=1" and "STATUS=…", where $NOTIFY_SOCKET names somebody.

    Nothing happens without, and a supervisor that does not read holds nobody up.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
    ):
        sock.sendto("\n".join(assignments).encode(), address)
