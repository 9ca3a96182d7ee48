"""Connections as audit tells them: the SOCKADDR record of a connect."""

import re
import socket
from typing import Final

from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import Call
from agent.sensors.records import SocketRecord

_CONNECT: Final = frozenset(((b"c000003e", b"42"), (b"40000003", b"362"), (b"c00000b7", b"203")))
"""Number of connect, by architecture."""
_IN_PROGRESS: Final = (b"-115", b"EINPROGRESS")
_ADDRESS = re.compile(rb"saddr=((?:0200|0A00|0a00)[0-9A-Fa-f]{12,60})")
_PORT: Final = slice(2, 4)
_IPV4: Final = slice(4, 8)
_IPV6: Final = slice(8, 24)
_IPV4_BYTES, _IPV6_BYTES = 8, 24


def connection_of(event: KernelEvent, call: Call) -> SocketRecord | None:
    """Return the connection that an event's call began; None when it is none.

    Whether it is TCP or UDP was said when the socket was made, not here.
    """
    text = event.text("SOCKADDR")
    if text is None or (call.architecture, call.number) not in _CONNECT:
        return None
    found = _ADDRESS.match(text)
    if found is None or not (call.succeeded or call.result in _IN_PROGRESS):
        return None
    digits = found[1].decode("ascii")
    raw = bytes.fromhex(digits[: len(digits) // 2 * 2])
    if raw[0] == socket.AF_INET and len(raw) >= _IPV4_BYTES:
        address = socket.inet_ntop(socket.AF_INET, raw[_IPV4])
    elif raw[0] == socket.AF_INET6 and len(raw) >= _IPV6_BYTES:
        address = socket.inet_ntop(socket.AF_INET6, raw[_IPV6])
    else:
        return None
    port = int.from_bytes(raw[_PORT], "big")
    return SocketRecord("connect", event.wall_ns, call.pid, "", "", 0, address, port)
