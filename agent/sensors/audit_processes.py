"""Processes as audit tells them: every execution; ends are found by looking, once a second.

Audit tells no forks here, and of ends nothing that is cheap. A process that ran before audit was
first switched on has no audit context: what it executes is not told, what its children do is.
"""

import os
from typing import Final

from agent.sensors import proc_files
from agent.sensors.audit_assembly import Assembler, KernelEvent
from agent.sensors.audit_calls import exec_of
from agent.sensors.records import UNKNOWN_STATUS, AuditRecord, ProcessRecord, Record

_LOOK_EVERY_NS: Final = 1_000_000_000
_WAIT_NS: Final = 100_000_000
"""Records of one event come together; a lone one must not hold up what comes after."""
_TICK_NS: Final = 2 * proc_files.NS_PER_TICK
"""Records bear times as coarse as the kernel's tick."""
_OF_CALLS: Final = frozenset(
    {"SYSCALL", "EXECVE", "CWD", "PATH", "PROCTITLE", "SOCKADDR", "EOE", "UNKNOWN[1321]"}
)


class AuditedProcesses:
    """Puts records together; knows which processes live."""

    def __init__(self) -> None:
        """Look at who lives now."""
        self._assembler = Assembler(wait_ns=_WAIT_NS)
        self._living: dict[int, ProcessRecord | None] = dict.fromkeys(_pids())
        """Pid -> its last execution; None for one that was there before."""
        self._looked_ns = 0

    def put_together(
        self, records: list[AuditRecord], now_wall_ns: int, wall_minus_boot_ns: int
    ) -> list[Record]:
        """Return executions, and records that belong to no system call or say more than one."""
        found: list[Record] = []
        whole: list[KernelEvent] = []
        for record in records:
            whole += self._assembler.add(record)
        whole += self._assembler.due(now_wall_ns)
        for event in whole:
            executed = exec_of(event, wall_minus_boot_ns)
            if executed is not None:
                found += self._executed(executed)
            found += (record for record in event.records if record.kind not in _OF_CALLS)
        return found

    def _executed(self, record: ProcessRecord) -> list[Record]:
        pid, before = record.pid, self._living.get(record.pid)
        known = proc_files.stat(pid)
        found: list[Record] = []
        if known is not None and known.start_ns <= record.boot_ns + _TICK_NS:
            if before is not None and abs(before.start_ns - known.start_ns) > _TICK_NS:
                found.append(_end(before, record.boot_ns))  # its pid was used again
            record = record._replace(
                start_ns=known.start_ns,
                session_leader=known.session_leader,
                cgroup=proc_files.cgroup(pid),
            )
        elif before is not None:
            record = record._replace(start_ns=before.start_ns, cgroup=before.cgroup)
        self._living[pid] = record
        return [*found, record]

    def ended(self, now_ns: int) -> list[Record]:
        """Return ends of processes that are gone; nothing until a second after the last look."""
        if now_ns - self._looked_ns < _LOOK_EVERY_NS:
            return []
        self._looked_ns = now_ns
        there = _pids()
        gone = [pid for pid in self._living if pid not in there]
        ends = [_end(record, now_ns) for pid in gone if (record := self._living[pid]) is not None]
        for pid in gone:
            del self._living[pid]
        return list(ends)


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208


def _end(record: ProcessRecord, boot_ns: int) -> ProcessRecord:
    return record._replace(
        kind="exit",
        boot_ns=boot_ns,
        exit_status=UNKNOWN_STATUS,
        requested_path=b"",
        executable=b"",
        arguments=(),
        working_directory=b"",
        exact=False,
    )
