"""Processes and TCP connects and listens, from eBPF programs on tracepoints.

What the kernel says about a process at the very moment: nothing is read from /proc afterwards, so a
process that lives 150 µs is as well known as one that lives for days. The programs are in
agent/bpf/nightherd.bpf.c; the layout below is theirs.
"""

import time
from functools import lru_cache
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop, ntohs
from struct import Struct
from typing import Final

from agent.sensors.libbpf import BpfObject
from agent.sensors.records import LossRecord, ProcessRecord, Record, SocketRecord
from agent.sensors.ring_buffer import RingBuffer

OBJECT_FILE: Final = Path(__file__).parent.parent / "bpf" / "nightherd.bpf.o"
RING_BYTES: Final = 4 << 20
"""About 10 000 executions or 40 000 forks and exits: more than a second of the busiest machine
measured, five at 1000 executions a second. It counts as the agent's memory.
"""

_HEADER = Struct("=QQ8IiIII6H12s")
_TCP = Struct("=HHHH16s16s")
_EXEC, _FORK, _EXIT = 1, 2, 3
_TCP_LISTEN: Final = 10
_EXECUTABLE_CUT, _DIRECTORY_CUT = 1, 2
_MISSED_RUNS_EVERY_NS: Final = 1_000_000_000
_MAPPED_IPV4: Final = bytes(10) + b"\xff\xff"

_header = _HEADER.unpack_from
_make = ProcessRecord._make


def _terminal(name: bytes, known: dict[bytes, str]) -> str:
    """The kernel's "pts0" as people and utmp write it: "pts/0"."""
    text = name.split(b"\0", 1)[0].decode("ascii", "replace")
    if text.startswith("pts"):
        text = f"pts/{text[3:]}"
    known[name] = text
    return text


@lru_cache(maxsize=4096)
def _path(components: bytes, cut: int) -> bytes:
    """Join components that come leaf first with a NUL after each."""
    parts = components.split(b"\0")
    parts[-1] = b"" if not cut else b"/..."
    parts.reverse()
    return b"/".join(parts) if len(parts) > 1 else b"/"


@lru_cache(maxsize=4096)
def _cgroup(components: bytes) -> str:
    return _path(components, 0).decode("utf-8", "replace")


def _address(raw: bytes, family: int) -> str:
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[:4])
    if raw[:12] == _MAPPED_IPV4:
        return inet_ntop(AF_INET, raw[12:])
    return inet_ntop(AF_INET6, raw)


def _socket(data: bytes, boot_ns: int, pid: int) -> SocketRecord | None:
    family, local_port, remote_port, state, local, remote = _TCP.unpack(data)
    if family not in (AF_INET, AF_INET6):
        return None
    listens = state == _TCP_LISTEN
    return SocketRecord(
        kind="listen" if listens else "connect",
        boot_ns=boot_ns,
        pid=pid,
        protocol="tcp",
        local_address=_address(local, family),
        local_port=local_port,
        remote_address="" if listens else _address(remote, family),
        remote_port=0 if listens else ntohs(remote_port),
    )


class BpfSensor:
    """Every exec, fork and exit; every TCP connect and listen; with who did it.

    Raises:
        SensorUnavailable: See BpfObject.
    """

    name = "bpf"

    def __init__(self, *, ring_bytes: int = RING_BYTES) -> None:
        """Load and attach the programs."""
        self._object = BpfObject(OBJECT_FILE.read_bytes(), {"records": ring_bytes})
        try:
            self._ring = RingBuffer(self._object.map_fd("records"), ring_bytes)
        except BaseException:  # whatever it was: nothing stays attached
            self._object.close()
            raise
        self._closed = False
        self._lost_fd = self._object.map_fd("lost")
        self._lost_before = 0
        self._missed = 0
        self._missed_read_ns = 0
        self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._terminals: dict[bytes, str] = {}

    def drain(self) -> list[Record]:
        """See Sensor."""
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        records = self._decode()
        lost = self._object.per_cpu_sum(self._lost_fd)
        if now_ns - self._missed_read_ns > _MISSED_RUNS_EVERY_NS:
            self._missed = self._object.missed_runs()
            self._missed_read_ns = now_ns
        lost += self._missed
        if lost > self._lost_before:
            records.append(
                LossRecord(
                    source=self.name,
                    boot_ns=now_ns,
                    since_ns=self._well_ns,
                    lost=lost - self._lost_before,
                    detail="process and socket events found no room in the ring buffer",
                )
            )
            self._lost_before = lost
        self._well_ns = now_ns
        return records

    def _decode(self) -> list[Record]:
        records: list[Record] = []
        for data, offsets in self._ring.stretches():
            self._decode_stretch(data, offsets, records)
        return records

    def _decode_stretch(self, data: bytes, offsets: list[int], records: list[Record]) -> None:
        append = records.append
        header_size = _HEADER.size
        known = self._terminals
        for offset in offsets:
            (
                boot_ns,
                start_ns,
                type_,
                pid,
                ppid,
                leader,
                user,
                effective,
                login,
                session,
                exit_code,
                total,
                count,
                flags,
                requested_size,
                arguments_size,
                executable_size,
                directory_size,
                cgroup_size,
                _,
                tty,
            ) = _header(data, offset)
            terminal = known.get(tty)
            if terminal is None:
                terminal = _terminal(tty, known)
            start = offset + header_size
            if type_ == _EXEC:
                end = start + requested_size
                requested = data[start : end - 1] if requested_size else b""
                start, end = end, end + arguments_size
                arguments = data[start:end].split(b"\0")
                if not arguments[-1]:
                    arguments.pop()
                start, end = end, end + executable_size
                executable = _path(data[start:end], flags & _EXECUTABLE_CUT)
                start, end = end, end + directory_size
                directory = _path(data[start:end], flags & _DIRECTORY_CUT)
                cgroup = _cgroup(data[end : end + cgroup_size])
                append(
                    _make(
                        (
                            "exec",
                            boot_ns,
                            start_ns,
                            pid,
                            ppid,
                            leader,
                            user,
                            effective,
                            login,
                            session,
                            terminal,
                            0,
                            requested,
                            executable,
                            tuple(arguments),
                            total > arguments_size or len(arguments) < count,
                            directory,
                            cgroup,
                            True,
                        )
                    )
                )
            elif type_ in (_FORK, _EXIT):
                append(
                    _make(
                        (
                            "fork" if type_ == _FORK else "exit",
                            boot_ns,
                            start_ns,
                            pid,
                            ppid,
                            leader,
                            user,
                            effective,
                            login,
                            session,
                            terminal,
                            exit_code,
                            b"",
                            b"",
                            (),
                            False,
                            b"",
                            "",
                            True,
                        )
                    )
                )
            elif record := _socket(data[start : start + _TCP.size], boot_ns, pid):
                append(record)

    def close(self) -> None:
        """See Sensor."""
        if not self._closed:
            self._closed = True
            self._ring.close()
            self._object.close()
