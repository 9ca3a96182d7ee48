"""Connections as audit tells them: the SOCKADDR record of a connect.

Whether it is TCP or UDP was said when the socket was made: by the record of that call, where the
rules of the host have it; or by the answer, as only a connection can be in progress.
"""

import re
import socket
from collections import OrderedDict
from typing import Final

from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import Call, number_of
from agent.sensors.audit_numbers import CONNECTS, SOCKETS
from agent.sensors.records import SocketRecord

_IN_PROGRESS: Final = (b"-115", b"EINPROGRESS")
_TYPE_MASK: Final = 0xF
_STREAM, _DATAGRAM = 1, 2
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_PROTOCOLS: Final = {(_STREAM, 0): "tcp", (_STREAM, 6): "tcp"} | {
    (_DATAGRAM, 0): "udp",
    (_DATAGRAM, 17): "udp",
}
MOST_SOCKETS: Final = 10_000
_ADDRESS = re.compile(rb"saddr=\"?((?:0200|0A00|0a00)[0-9A-Fa-f]{12,60})")
_PORT: Final = slice(2, 4)
_IPV4: Final = slice(4, 8)
_IPV6: Final = slice(8, 24)
_IPV4_BYTES, _IPV6_BYTES = 8, 24


class Sockets:
    """What the sockets are that processes made, as far as the records of those calls are there."""

    def __init__(self) -> None:
        """Begin with none."""
        self._made: OrderedDict[tuple[int, int], str] = OrderedDict()

    def made(self, call: Call) -> bool:
        """Note a socket; whether the call made one."""
        if (call.architecture, call.number) not in SOCKETS or not call.result.isdigit():
            return False
        family, kind, protocol = (number_of(each) for each in call.arguments[:3])
        key = call.pid, int(call.result[:10])
        self._made.pop(key, None)  # its number may have been another's
        if family in _FAMILIES and (kind & _TYPE_MASK, protocol) in _PROTOCOLS:
            self._made[key] = _PROTOCOLS[kind & _TYPE_MASK, protocol]
            if len(self._made) > MOST_SOCKETS:
                self._made.popitem(last=False)
        return True

    def protocol(self, call: Call) -> str:
        """Return the protocol of the socket that a call is about; "" when it is not known."""
        return self._made.get((call.pid, number_of(call.arguments[0])), "")


def connection_of(
    event: KernelEvent, call: Call, sockets: Sockets | None = None
) -> SocketRecord | None:
    """Return the connection that an event's call began; None when it is none.

    Its protocol is "" where no record says it.
    """
    text = event.text("SOCKADDR")
    if text is None or (call.architecture, call.number) not in CONNECTS:
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
    protocol = sockets.protocol(call) if sockets is not None else ""
    if not protocol and not call.succeeded:
        protocol = "tcp"
    elif not protocol and not port:
        protocol = "udp"  # how programs look up which of their addresses leads there
    return SocketRecord("connect", event.wall_ns, call.pid, protocol, "", 0, address, port)
