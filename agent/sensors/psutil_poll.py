"""Processes and listening sockets as psutil finds them: once at start, or every second.

At every level the first look tells which processes already ran. At the poll level the later looks
are all there is: what lives shorter than a second is mostly not seen (of 5 ms processes none).
"""

import os
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

import psutil

from agent.sensors import proc_files
from agent.sensors.proc_programs import link, program_of
from agent.sensors.records import UNKNOWN_STATUS, ProcessRecord, Record, SocketRecord

_ATTRIBUTES: Final = ["pid", "uids", "cmdline"]
_PROCESSES_EVERY_NS: Final = 1_000_000_000
_SOCKETS_EVERY_NS: Final = 5_000_000_000
"""A look at sockets walks every process's descriptors: 20 ms of CPU, three times as long in all."""

_Identity = tuple[int, int]
_Listener = tuple[int, str, str, int]


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _record(info: dict[str, Any], now_ns: int, kind: str) -> ProcessRecord | None:
    pid: int = info["pid"]
    stat = proc_files.stat(pid)
    if stat is None:
        return None
    uids = info["uids"]
    program = program_of(pid)
    return ProcessRecord(
        kind=kind,
        boot_ns=now_ns,
        start_ns=stat.start_ns,
        pid=pid,
        ppid=stat.ppid,
        session_leader=stat.session_leader,
        user_id=uids.real if uids else 0,
        effective_user_id=uids.effective if uids else 0,
        login_user_id=proc_files.audit_id(pid, "loginuid"),
        session_id=proc_files.audit_id(pid, "sessionid"),
        terminal=stat.terminal,
        exit_status=0,
        requested_path=b"",
        executable=program.path,
        arguments=tuple(os.fsencode(argument) for argument in info["cmdline"] or ()),
        arguments_cut=False,
        working_directory=link(pid, "cwd"),
        cgroup=proc_files.cgroup(pid),
        exact=False,
        device=program.device,
        inode=program.inode,
        mount_namespace=program.mount_namespace,
        traits=program.traits,
    )


def running_processes(kind: str = "snapshot") -> Iterator[ProcessRecord]:
    """Every process that runs now, kernel threads too (without executable).

    What we may not read of others' processes is empty.
    """
    now_ns = _boot_ns()
    for process in psutil.process_iter(_ATTRIBUTES):
        record = _record(process.info, now_ns, kind)
        if record is not None:
            yield record


def _listeners() -> dict[_Listener, SocketRecord]:
    now_ns = _boot_ns()
    found: dict[_Listener, SocketRecord] = {}
    try:
        connections = psutil.net_connections("inet")
    except psutil.Error:
        return found
    for connection in connections:
        tcp = connection.type == socket.SOCK_STREAM
        waits = connection.status == psutil.CONN_LISTEN if tcp else not connection.raddr
        if not waits or not connection.laddr or not connection.pid:
            continue
        protocol = "tcp" if tcp else "udp"
        address, port = connection.laddr
        found[connection.pid, protocol, address, port] = SocketRecord(
            kind="listen",
            boot_ns=now_ns,
            pid=connection.pid,
            protocol=protocol,
            local_address=address,
            local_port=port,
            remote_address="",
            remote_port=0,
            exact=False,
        )
    return found


def listening_sockets() -> list[SocketRecord]:
    """TCP sockets that listen and UDP sockets bound to a port, of processes we may look into."""
    return list(_listeners().values())


class SnapshotSensor:
    """What ran when the agent started: everything at the first drain, nothing after it.

    Open it after the sensors that watch processes, so that none falls between; one that starts
    meanwhile is in both.
    """

    name = "snapshot"

    def __init__(self) -> None:
        """Take the snapshot."""
        self._records: list[Record] = [*running_processes(), *listening_sockets()]

    def drain(self) -> list[Record]:
        """See Sensor."""
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """See Sensor."""
        self._records.clear()


class ListenSensor:
    """TCP and UDP sockets that came to listen, five seconds apart; those of now are not told."""

    name = "listeners"

    def __init__(self) -> None:
        """Look at what listens now."""
        self._listening = _listeners()
        self._looked_ns = _boot_ns()

    def drain(self) -> list[Record]:
        """See Sensor. Nothing until five seconds after the last look."""
        now_ns = _boot_ns()
        if now_ns - self._looked_ns < _SOCKETS_EVERY_NS:
            return []
        self._looked_ns = now_ns
        before, self._listening = self._listening, _listeners()
        return [
            record._replace(exact=False)
            for key, record in self._listening.items()
            if key not in before
        ]

    def close(self) -> None:
        """See Sensor."""
        self._listening.clear()


class PollSensor:
    """Processes that came and went between two looks, a second apart; inexact."""

    name = "psutil"

    def __init__(self) -> None:
        """Look at nothing yet: the first drain gives what runs as snapshot."""
        self._known: dict[_Identity, ProcessRecord] = {}
        self._listening: dict[_Listener, SocketRecord] | None = None
        self._processes_ns = self._sockets_ns = 0

    def drain(self) -> list[Record]:
        """See Sensor. Nothing until a second after the last look."""
        now_ns = _boot_ns()
        records: list[Record] = []
        if now_ns - self._processes_ns >= _PROCESSES_EVERY_NS:
            first = not self._processes_ns
            self._processes_ns = now_ns
            records += self._processes("snapshot" if first else "exec")
        if now_ns - self._sockets_ns >= _SOCKETS_EVERY_NS:
            self._sockets_ns = now_ns
            found = _listeners()
            before = self._listening or {}
            records += [record for key, record in found.items() if key not in before]
            self._listening = found
        return records

    def _processes(self, kind: str) -> Iterator[ProcessRecord]:
        found = {(each.pid, each.start_ns): each for each in running_processes(kind)}
        now_ns = _boot_ns()
        for identity, gone in self._known.items():
            if identity not in found:
                yield gone._replace(
                    kind="exit",
                    boot_ns=now_ns,
                    exit_status=UNKNOWN_STATUS,
                    requested_path=b"",
                    executable=b"",
                    arguments=(),
                    working_directory=b"",
                )
        for identity, record in found.items():
            before = self._known.get(identity)
            if before is None or _image(before) != _image(record):
                # A new process began when it was forked; a new program at some time since.
                yield (
                    record
                    if before
                    else record._replace(
                        boot_ns=record.start_ns if kind == "exec" else record.boot_ns
                    )
                )
        self._known = found

    def close(self) -> None:
        """See Sensor."""
        self._known.clear()


def _image(record: ProcessRecord) -> tuple[bytes, tuple[bytes, ...]]:
    return record.executable, record.arguments
