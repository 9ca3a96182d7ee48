"""Processes and what they do, from eBPF programs on tracepoints and checkpoints of the kernel.

What the kernel says about a process at the very moment: nothing is read from /proc afterwards, so a
process that lives 150 µs is as well known as one that lives for days. The programs are in
agent/bpf/; the layout below is theirs.
"""

import os
import struct
import time
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from struct import Struct
from typing import Final

from agent.sensors import bpf_programs
from agent.sensors.bpf_facts import VALUES, Fact, Facts, path_of
from agent.sensors.libbpf import BpfObject
from agent.sensors.records import LossRecord, ProcessRecord, Record
from agent.sensors.ring_buffer import RingBuffer

OBJECT_FILE: Final = Path(__file__).parent.parent / "bpf" / "nightherd.bpf.o"
RING_BYTES: Final = 4 << 20
"""About 10 000 executions or 40 000 forks and exits: more than a second of the busiest machine
measured, five at 1000 executions a second. It counts as the agent's memory.
"""

_HEADER = Struct("=QQ8Ii5I6H12s")
_EXEC, _FORK, _EXIT = 1, 2, 3
_EXECUTABLE_CUT, _DIRECTORY_CUT = 1 << 2, 1 << 3
_MISSED_RUNS_EVERY_NS: Final = 1_000_000_000

_header = _HEADER.unpack_from
_values = VALUES.unpack_from
_make = ProcessRecord._make


def _terminal(name: bytes, known: dict[bytes, str]) -> str:
    """The kernel's "pts0" as people and utmp write it: "pts/0"."""
    text = name.split(b"\0", 1)[0].decode("ascii", "replace")
    if text.startswith("pts"):
        text = f"pts/{text[3:]}"
    known[name] = text
    return text


@lru_cache(maxsize=4096)
def _cgroup(components: bytes) -> str:
    return path_of(components, 0).decode("utf-8", "replace")


class BpfSensor:
    """Every exec, fork and exit; every TCP connect and listen; whatever else this kernel shows.

    Raises:
        SensorUnavailable: See BpfObject.
    """

    name = "bpf"

    def __init__(self, *, ring_bytes: int = RING_BYTES) -> None:
        """Load and attach the programs."""
        self._object = BpfObject(
            OBJECT_FILE.read_bytes(),
            {"records": ring_bytes},
            bpf_programs.NOT_SEEN,
            bpf_programs.STAND_INS,
        )
        try:
            self._facts = Facts(self._object.refused.keys())
            self._object.put(
                self._object.map_fd("own_pid"), bytes(4), struct.pack("=I", os.getpid())
            )
            names = self._object.map_fd("unix_names")
            for name in self._facts.unix_names():
                self._object.put(names, name.ljust(bpf_programs.UNIX_NAME_BYTES, b"\0"), b"\1")
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

    @property
    def refused(self) -> dict[str, str]:
        """Programs that this kernel does not take, and its reason."""
        return self._object.refused

    @property
    def not_seen(self) -> list[str]:
        """What is not seen because of that, in sentences."""
        return bpf_programs.sentences(self.refused)

    @property
    def tells(self) -> frozenset[str]:
        """Facts of other sources that it tells with who did it: "modules", "programs", "users"."""
        return bpf_programs.tells(self.refused)

    @property
    def bound(self) -> Collection[tuple[str, int]]:
        """Addresses and ports of UDP sockets of which it told lately."""
        return self._facts.bound

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
                saved,
                thread,
                requested_size,
                arguments_size,
                executable_size,
                directory_size,
                cgroup_size,
                traits,
                tty,
            ) = _header(data, offset)
            terminal = known.get(tty)
            if terminal is None:
                terminal = _terminal(tty, known)
            start = offset + header_size
            if type_ == _EXEC:
                inode, device, namespace, _ = _values(data, start)
                start += VALUES.size
                end = start + requested_size
                requested = data[start : end - 1] if requested_size else b""
                start, end = end, end + arguments_size
                arguments = data[start:end].split(b"\0")
                if not arguments[-1]:
                    arguments.pop()
                start, end = end, end + executable_size
                executable = path_of(data[start:end], flags & _EXECUTABLE_CUT)
                start, end = end, end + directory_size
                directory = path_of(data[start:end], flags & _DIRECTORY_CUT)
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
                            saved,
                            device,
                            inode,
                            namespace,
                            traits,
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
                            saved,
                            0,
                            0,
                            0,
                            0,
                        )
                    )
                )
            elif record := self._facts.record(
                Fact(
                    type_,
                    boot_ns,
                    start_ns,
                    pid,
                    thread,
                    flags,
                    (
                        requested_size,
                        arguments_size,
                        executable_size,
                        directory_size,
                        cgroup_size,
                    ),
                ),
                data,
                start,
            ):
                append(record)

    def close(self) -> None:
        """See Sensor."""
        if not self._closed:
            self._closed = True
            self._ring.close()
            self._object.close()
