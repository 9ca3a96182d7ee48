"""Logins, sudo, account tools and firewall changes, as the audit system tells them.

"Audit lite": audit is enabled with one rule, task,never. User-space messages, LOGIN and
NETFILTER_CFG records need no system call auditing, so no process is slowed down.

Only one process can be the audit daemon; audit_place.py is where we stand when another is.

Where nothing better tells processes, rules with our key tell every execution; then processes do
pay, and an auditd beside us writes those records as well.
"""

import time
from typing import Final

from agent.sensors.audit_netlink import REPLACED, Status
from agent.sensors.audit_place import AuditPlace, is_auditd
from agent.sensors.audit_processes import AuditedProcesses
from agent.sensors.audit_records import parse
from agent.sensors.audit_rules import LOCKED, exec_rules
from agent.sensors.records import LossRecord, Record
from agent.sensors.unavailable import SensorUnavailable

_FIRST_RECORD: Final = 1005
_LOOK_AT_STATUS_EVERY_NS: Final = 1_000_000_000
_LOOK_AT_RULES_EVERY_NS: Final = 5_000_000_000
_PATIENCE_NS: Final = 60_000_000_000
"""How long the place stays free for an auditd that restarts: it gives up when it is taken."""
_NO_RECORDS: Final = frozenset((1320,))
"""EOE ends the records of a system call and says nothing."""


class AuditSensor:
    """Records of user space and of configuration; with `processes`, executions as well.

    Raises:
        SensorUnavailable: Not permitted, or a kernel without audit; or rules that cannot be
            changed keep executions from being told.
    """

    name = "audit"

    def __init__(self, *, processes: bool = False) -> None:
        """Take the daemon's place, or read along with who has it."""
        self.processes = AuditedProcesses() if processes else None
        if processes and not exec_rules():
            raise SensorUnavailable("audit's numbers of this machine's system calls are not known")
        try:
            self._place = AuditPlace(executions=processes)
        except OSError as error:
            permitted = not isinstance(error, PermissionError)
            why = (
                error.strerror if permitted else "not permitted (needs root, or CAP_AUDIT_CONTROL)"
            )
            raise SensorUnavailable(f"the kernel does not offer audit records: {why}") from error
        self._lost_before = self._place.lost_before
        self._looked_ns = self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._rules_seen_ns = self._looked_ns
        self._vacant_since_ns: int | None = None
        self._patience_ns = 0
        self.told_until_ns = 0
        """With `processes`: all records that are older came (boot clock)."""

    @property
    def is_daemon(self) -> bool:
        """Whether we are the audit daemon; else we read along with another."""
        return self._place.is_daemon

    def drain(self) -> list[Record]:
        """See Sensor."""
        socket = self._place.socket
        assert socket is not None, "drained after close"  # noqa: S101 - a programming error
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        messages, overflows = socket.receive()
        parsed = [
            parse(kind, text)
            for kind, text in messages
            if kind >= _FIRST_RECORD
            and kind != REPLACED
            and (self.processes is not None or kind not in _NO_RECORDS)
        ]
        records: list[Record] = [*parsed]
        if self.processes is not None:
            wall_ns = time.time_ns()
            if parsed:
                self.told_until_ns = max(each.wall_ns for each in parsed) - wall_ns + now_ns
            records = self.processes.put_together(parsed, wall_ns, wall_ns - now_ns)
            records += self.processes.look(now_ns)
        if overflows and not self.is_daemon:  # the kernel repeats to its daemon what found no room
            records.append(self._loss(now_ns, None, "copies of audit records found no room"))
        if any(kind == REPLACED for kind, _ in messages):
            self._place.step_aside()
            self._patience_ns = _PATIENCE_NS
        if now_ns - self._looked_ns > _LOOK_AT_STATUS_EVERY_NS:
            self._looked_ns = now_ns
            records += self._look_at_status(now_ns)
        self._well_ns = now_ns
        return records

    def has_told_all(self) -> bool:
        """Whether the kernel has no record that the next drain would not bring."""
        place = self._place
        return place.socket is not None and place.control.status().backlog == 0

    def _look_at_status(self, now_ns: int) -> list[Record]:
        """What the kernel lost; and take the daemon's place when it has been free for long."""
        place = self._place
        status = place.control.status()
        losses: list[Record] = []
        if lost := max(0, status.lost - self._lost_before):
            losses.append(self._loss(now_ns, lost, "the kernel's audit backlog was full"))
        self._lost_before = status.lost
        if self.is_daemon or status.daemon_pid:
            self._vacant_since_ns = None
            place.is_had()
            if not self.is_daemon:
                self._patience_ns = _PATIENCE_NS if is_auditd(status.daemon_pid) else 0
            losses += self._look_at_rules(status, now_ns)
        elif self._vacant_since_ns is None:
            self._vacant_since_ns = now_ns
        elif now_ns - self._vacant_since_ns > self._patience_ns and status.enabled != LOCKED:
            kept_on = place.keeps_audit_on
            if place.take_over():
                since_ns, self._vacant_since_ns = self._vacant_since_ns, None
                if not kept_on:
                    detail = "no audit daemon ran, so nothing kept the audit system on"
                    losses.append(LossRecord(self.name, now_ns, since_ns, None, detail, blind=True))
        return losses

    def _look_at_rules(self, status: Status, now_ns: int) -> list[Record]:
        """Add our rules again: who starts auditd begins with removing every rule.

        Raises:
            OSError: executions cannot be told any more.
        """
        if self.processes is None or now_ns - self._rules_seen_ns < _LOOK_AT_RULES_EVERY_NS:
            return []
        since_ns, self._rules_seen_ns = self._rules_seen_ns, now_ns
        if not self._place.add_rules_again(status):
            return []
        detail = "somebody removed the rules by which executions are told; they are back"
        return [LossRecord(self.name, now_ns, since_ns, None, detail, blind=True)]

    def _loss(self, now_ns: int, lost: int | None, detail: str) -> LossRecord:
        return LossRecord(self.name, now_ns, self._well_ns, lost, detail)

    def close(self) -> None:
        """See Sensor."""
        if self._place.socket is not None:
            self._place.close()
