"""Processes as audit tells them: every execution; forks and ends are found by looking.

Audit tells no forks here, and of ends nothing that is cheap. A process that ran before audit was
first switched on has no audit context: what it executes is not told, what its children do is. Who
only forked is looked at when it changed a file, when its child executes, or after a second.
"""

import os
from collections.abc import Iterable
from typing import Final

from agent.sensors import proc_files
from agent.sensors.audit_assembly import Assembler, KernelEvent
from agent.sensors.audit_calls import call_of, exec_of, requested_path_of
from agent.sensors.audit_numbers import EXECS
from agent.sensors.exec_failures import ExecFailures, Failure, error_of
from agent.sensors.records import UNKNOWN_STATUS, AuditRecord, ProcessRecord, Record

_LOOK_EVERY_NS: Final = 1_000_000_000
_TICK_NS: Final = 2 * proc_files.NS_PER_TICK
"""Records bear times as coarse as the kernel's tick."""
_MOST_ABOVE: Final = 16
EXEC_FAILED: Final = "execve failed"
"""Type of a record of ours for an execution that failed; no record of the kernel is called so."""
_FAILED, _WITHIN = b" success=no ", 80
_OF_CALLS: Final = frozenset({"SYSCALL", "EXECVE", "CWD", "PATH", "EOE"})
_OF_NO_USE: Final = frozenset({"PROCTITLE", "SOCKADDR", "UNKNOWN[1321]"})


class AuditedProcesses:
    """Puts records together; knows which processes live."""

    def __init__(self) -> None:
        """Look at who lives now."""
        self._assembler = Assembler()
        self._living: dict[int, ProcessRecord] = {}
        """Pid -> its last execution; its fork, when none was told."""
        for pid in _pids():
            self._look_at(pid)
        self._looked_ns = 0
        self._failures = ExecFailures[tuple[int, bytes]]()

    def put_together(
        self, records: list[AuditRecord], now_wall_ns: int, wall_minus_boot_ns: int
    ) -> list[Record]:
        """Return executions, and records that say more than a system call's own do."""
        found: list[Record] = []
        whole: list[KernelEvent] = []
        for record in records:
            if record.kind in _OF_CALLS:
                whole += self._assembler.add(record)
            elif record.kind not in _OF_NO_USE:
                # Not through the assembler: of a process without context no end would come.
                found.append(record)
        whole += self._assembler.due(now_wall_ns)
        for event in whole:
            executed = exec_of(event, wall_minus_boot_ns)
            if executed is not None:
                found += self._executed(executed)
                if len(self._failures):
                    self._failures.executed(executed.pid, executed.requested_path)
            elif _FAILED in event.texts[0][:_WITHIN]:
                found += self._not_executed(event)
        return [*found, *map(_failed, self._failures.due(now_wall_ns))]

    def _not_executed(self, event: KernelEvent) -> list[AuditRecord]:
        """Count an execve that failed: rules of others may tell it, ours do not.

        Whoever calls it in a loop would fill the kernel's backlog at little cost.
        """
        call = call_of(event)
        if call is None or (call.architecture, call.number) not in EXECS:
            return []
        failure = Failure(
            (call.pid, call.executable),
            requested_path_of(event),
            error_of(call.result),
            event.wall_ns,
            event.wall_ns,
        )
        return [_failed(each) for each in self._failures.add(call.pid, failure)]

    def _executed(self, record: ProcessRecord) -> list[ProcessRecord]:
        pid, before = record.pid, self._living.get(record.pid)
        known = proc_files.stat(pid)
        found = self.glimpses((record.ppid,))
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

    def glimpses(self, pids: Iterable[int]) -> list[ProcessRecord]:
        """Return the forks of those that nobody told of yet and that still live, parents first."""
        found: list[ProcessRecord] = []
        for pid in pids:
            above = pid
            for _ in range(_MOST_ABOVE):
                if above in self._living or (record := self._look_at(above)) is None:
                    break
                found.insert(0, record)
                above = record.ppid
        return found

    def only_forked(self, pid: int) -> bool:
        """Whether a process was found by looking, and no execution of it was told."""
        record = self._living.get(pid)
        return record is not None and record.kind == "fork"

    def look(self, now_ns: int) -> list[ProcessRecord]:
        """Return ends of processes that are gone, and forks of those that stay.

        Nothing until a second after the last look.
        """
        if now_ns - self._looked_ns < _LOOK_EVERY_NS:
            return []
        self._looked_ns = now_ns
        there = _pids()
        ends = [_end(record, now_ns) for pid, record in self._living.items() if pid not in there]
        for end in ends:
            del self._living[end.pid]
        self._assembler.lost()  # holes in serials are no losses: others' rules leave records out
        stayed = [
            pid
            for pid in there - self._living.keys()
            if (found := proc_files.stat(pid)) is not None
            and found.start_ns < now_ns - _LOOK_EVERY_NS
        ]
        return [*ends, *self.glimpses(stayed)]

    def _look_at(self, pid: int) -> ProcessRecord | None:
        """Note a process as it is now; None when it is gone."""
        found = proc_files.stat(pid)
        if found is None:
            return None
        user_id, effective_user_id = proc_files.user_ids(pid)
        record = self._living[pid] = ProcessRecord(
            kind="fork",
            boot_ns=found.start_ns + proc_files.NS_PER_TICK,  # at the latest
            start_ns=found.start_ns,
            pid=pid,
            ppid=found.ppid,
            session_leader=found.session_leader,
            user_id=user_id,
            effective_user_id=effective_user_id,
            login_user_id=proc_files.audit_id(pid, "loginuid"),
            session_id=proc_files.audit_id(pid, "sessionid"),
            terminal=found.terminal,
            exit_status=0,
            requested_path=b"",
            executable=b"",
            arguments=(),
            arguments_cut=False,
            working_directory=b"",
            cgroup="",
            exact=False,
        )
        return record


def _failed(failure: Failure[tuple[int, bytes]]) -> AuditRecord:
    pid, executable = failure.who
    fields = {
        "pid": b"%d" % pid,
        "exe": executable,
        "path": failure.path,
        "error": failure.error.encode(),
        "count": b"%d" % failure.count,
        "last": b"%d" % failure.last_ns,
    }
    return AuditRecord(EXEC_FAILED, failure.first_ns, 0, b"", fields)


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
