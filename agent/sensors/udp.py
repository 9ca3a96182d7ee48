"""UDP sockets bound to a port after the agent started: no event tells of them, we look for them.

A look reads two small files of /proc. Whose a socket is takes a walk over every process's
descriptors; it is made only for a socket that two looks found: those of a single question to a name
server come and go between them.
"""

import os
import re
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from agent.sensors.records import Record, SocketRecord

EVERY_NS: Final = 5_000_000_000
_MOST_BYTES: Final = 4 << 20
_UNCONNECTED: Final = b"07"
_SOCKET: Final = re.compile(rb"socket:\[(\d+)\]")
_TABLES: Final = (Path("/proc/net/udp"), Path("/proc/net/udp6"))


class _Bound(NamedTuple):
    """A socket that waits for anybody's datagrams."""

    address: str
    port: int


class UdpSensor:
    """UDP sockets that came to be bound; who holds them is found afterwards, not exact."""

    name = "udp"

    def __init__(
        self, every_ns: int = EVERY_NS, told: Callable[[], Collection[tuple[str, int]]] = tuple
    ) -> None:
        """Look every so often; what is bound by now is for the snapshot to tell.

        `told` returns the addresses and ports that another sensor told of.
        """
        self._told = told
        self._every_ns = every_ns
        self._known = set(bound())
        self._new: set[int] = set()
        self._looked_ns = _boot_ns()

    def drain(self) -> list[Record]:
        """See Sensor. Nothing until some seconds after the last look."""
        now_ns = _boot_ns()
        if now_ns - self._looked_ns < self._every_ns:
            return []
        self._looked_ns = now_ns
        found = bound()
        stayed = self._new & found.keys()
        self._new = found.keys() - self._known - stayed
        self._known = (self._known & found.keys()) | stayed
        told = self._told()
        stayed = {
            inode for inode in stayed if (found[inode].address, found[inode].port) not in told
        }
        owners = owners_of(stayed) if stayed else {}
        return [
            SocketRecord(
                kind="listen",
                boot_ns=now_ns,
                pid=owners[inode],
                protocol="udp",
                local_address=found[inode].address,
                local_port=found[inode].port,
                remote_address="",
                remote_port=0,
                exact=False,
            )
            for inode in sorted(stayed)
            if inode in owners
        ]

    def close(self) -> None:
        """See Sensor."""
        self._known.clear()
        self._new.clear()


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def bound() -> dict[int, _Bound]:
    """Return the bound and unconnected UDP sockets of this network namespace, by inode."""
    found: dict[int, _Bound] = {}
    for table in _TABLES:
        try:
            with table.open("rb") as file:
                lines = file.read(_MOST_BYTES).splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _UNCONNECTED and fields[9] != b"0":  # noqa: PLR2004
                address, _, port = fields[1].partition(b":")
                found[int(fields[9])] = _Bound(_textual(address), int(port, 16))
    return found


def _textual(hexadecimal: bytes) -> str:
    words = bytes.fromhex(hexadecimal.decode("ascii"))
    # The kernel prints each word of the address in its own byte order.
    numbers = struct.unpack(f"={len(words) // 4}I", words)
    packed = struct.pack(f">{len(numbers)}I", *numbers)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)  # noqa: PLR2004


def owners_of(inodes: set[int]) -> dict[int, int]:
    """Return the process that holds each socket, of several the one with the lowest pid."""
    found: dict[int, int] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208
        for inode in _sockets_of(pid):
            if inode in inodes:
                found.setdefault(inode, pid)
        if len(found) == len(inodes):
            break
    return found


def _sockets_of(pid: int) -> Iterator[int]:
    folder = b"/proc/%d/fd" % pid
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a Path a descriptor is slow
    except OSError:  # gone, or not ours to see
        return
    for name in names:
        try:
            target = os.readlink(folder + b"/" + name)  # noqa: PTH115
        except OSError:
            continue
        if match := _SOCKET.fullmatch(target):
            yield int(match[1])
