"""Logins, sudo, account tools and firewall changes, as the audit system tells them.

"Audit lite": audit is enabled with one rule, task,never. User-space messages, LOGIN and
NETFILTER_CFG records need no system call auditing, so no process is slowed down.

Only one process can be the audit daemon. Where there is none, we are (unicast), and give back what
we found on close. Where there is one, auditd or another agent, we read copies of its records
(multicast) and touch no setting of its.

Where nothing better tells processes, rules with our key tell every execution; then processes do
pay, and an auditd beside us writes those records as well.
"""

import errno
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.sensors.audit_netlink import (
    READ_LOG_GROUP,
    RECEIVE_BYTES,
    REPLACED,
    TASK_NEVER,
    AuditSocket,
    Status,
)
from agent.sensors.audit_processes import AuditedProcesses
from agent.sensors.audit_records import parse
from agent.sensors.audit_rules import (
    EXCLUSIONS,
    LOCKED,
    exec_rules,
    hindrance,
    stale,
    tells_execs,
)
from agent.sensors.records import LossRecord, Record
from agent.sensors.unavailable import SensorUnavailable

_BACKLOG_LIMIT: Final = 8192
_EXECUTIONS_BYTES: Final = 64 << 20
"""With executions more must find room to wait: 2 s of 4,500 a second, as measured."""
_FIRST_RECORD: Final = 1005
_LOOK_AT_STATUS_EVERY_NS: Final = 1_000_000_000
_LOOK_AT_RULES_EVERY_NS: Final = 5_000_000_000
_PATIENCE_NS: Final = 60_000_000_000
"""How long the place stays free for an auditd that restarts: it gives up when it is taken."""
_AUDITD: Final = "auditd"
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
        self._found: Status | None = None
        """Settings to give back; None when they are not ours to touch."""
        self._left: Status | None = None
        """The same, once the place was given back and nobody has taken it yet."""
        self._added: list[bytes] = []
        """Rules that are ours to remove."""
        self._socket: AuditSocket | None = None
        self._control: AuditSocket | None = None
        self.processes = AuditedProcesses() if processes else None
        if processes and not exec_rules():
            raise SensorUnavailable("audit's numbers of this machine's system calls are not known")
        try:
            self._control = AuditSocket()
            self._remove_stale(self._control)
            self._socket = self._as_daemon() or self._beside_another()
            self._lost_before = self._control.status().lost
        except OSError as error:
            self.close()
            permitted = not isinstance(error, PermissionError)
            why = (
                error.strerror if permitted else "not permitted (needs root, or CAP_AUDIT_CONTROL)"
            )
            raise SensorUnavailable(f"the kernel does not offer audit records: {why}") from error
        except BaseException:
            self.close()
            raise
        self._looked_ns = self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._rules_seen_ns = self._looked_ns
        self._vacant_since_ns: int | None = None
        self._patience_ns = 0
        self.told_until_ns = 0
        """With `processes`: all records that are older came (boot clock)."""

    @property
    def is_daemon(self) -> bool:
        """Whether we are the audit daemon; else we read along with another."""
        return self._found is not None

    def _as_daemon(self) -> AuditSocket | None:
        """Take the place when it is free; None when it is not."""
        own = AuditSocket(receive_bytes=self._room)
        try:
            found = own.status()
            if found.daemon_pid or found.enabled == LOCKED:
                own.close()
                return None
            own.set_daemon(os.getpid())
        except FileExistsError:
            own.close()
            return None
        except BaseException:
            own.close()
            raise
        if self._left is not None:
            found, self._left = self._left, None
        self._found, self._socket = found, own
        # A wait time would let a hung agent hold up every audited process.
        own.set_backlog(max(_BACKLOG_LIMIT, found.backlog_limit), 0)
        self._add_own_rules(own, found)
        if not found.enabled:
            own.set_enabled(1)
        return own

    def _add_own_rules(self, own: AuditSocket, found: Status) -> None:
        mine: tuple[bytes, ...] = (TASK_NEVER,)
        others: tuple[bytes, ...] = EXCLUSIONS
        if self.processes:
            mine, others = (*exec_rules(), *EXCLUSIONS), mine
        # Nobody is the daemon, yet our wait time is there: an agent was killed, its rules stayed.
        stale = found.backlog_wait_time == 0
        if stale:
            for rule in others:
                own.delete_rule(rule)
        if self.processes and (why := hindrance(replace(found, enabled=1), own.rules())):
            raise SensorUnavailable(why)
        kept, self._added = self._added, []
        added = [rule for rule in mine if own.add_rule(rule) or rule in kept]
        self._added = list(mine) if stale else added
        if stale and len(added) < len(mine):
            self._found = replace(found, enabled=0)

    def _beside_another(self) -> AuditSocket:
        """Read along; executions are told by rules that have our key, or somebody's that stand."""
        assert self._control is not None  # noqa: S101 - see __init__
        if self.processes:
            status, rules = self._control.status(), self._control.rules()
            if why := hindrance(status, rules):
                raise SensorUnavailable(why)
            if status.enabled != LOCKED:
                self._added = [rule for rule in exec_rules() if self._control.add_rule(rule)]
        return AuditSocket(READ_LOG_GROUP, self._room)

    @property
    def _room(self) -> int:
        return RECEIVE_BYTES if self.processes is None else _EXECUTIONS_BYTES

    def _remove_stale(self, control: AuditSocket) -> None:
        """Remove the rules of agents that were killed, where rules may be changed."""
        with suppress(PermissionError):
            for rule in stale(control.rules()):
                control.delete_rule(rule)

    def drain(self) -> list[Record]:
        """See Sensor."""
        assert self._socket is not None, "drained after close"  # noqa: S101 - a programming error
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        messages, overflows = self._socket.receive()
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
            self._step_aside()
        if now_ns - self._looked_ns > _LOOK_AT_STATUS_EVERY_NS:
            self._looked_ns = now_ns
            records += self._look_at_status(now_ns)
        self._well_ns = now_ns
        return records

    def has_told_all(self) -> bool:
        """Whether the kernel has no record that the next drain would not bring."""
        return self._control is not None and self._control.status().backlog == 0

    def _look_at_status(self, now_ns: int) -> list[Record]:
        """What the kernel lost; and take the daemon's place when it has been free for long."""
        assert self._control is not None  # noqa: S101 - see __init__
        status = self._control.status()
        losses: list[Record] = []
        if lost := max(0, status.lost - self._lost_before):
            losses.append(self._loss(now_ns, lost, "the kernel's audit backlog was full"))
        self._lost_before = status.lost
        if self.is_daemon or status.daemon_pid:
            self._vacant_since_ns = self._left = None
            if not self.is_daemon:
                self._patience_ns = _PATIENCE_NS if is_auditd(status.daemon_pid) else 0
            losses += self._look_at_rules(self._control, status, now_ns)
        elif self._vacant_since_ns is None:
            self._vacant_since_ns = now_ns
        elif now_ns - self._vacant_since_ns > self._patience_ns and status.enabled != LOCKED:
            reading, kept_on = self._socket, self._left is not None
            if self._as_daemon() and reading:
                reading.close()
                since_ns, self._vacant_since_ns = self._vacant_since_ns, None
                if not kept_on:
                    detail = "no audit daemon ran, so nothing kept the audit system on"
                    losses.append(LossRecord(self.name, now_ns, since_ns, None, detail))
        return losses

    def _look_at_rules(self, control: AuditSocket, status: Status, now_ns: int) -> list[Record]:
        """Add our rules again: who starts auditd begins with removing every rule.

        Raises:
            OSError: executions cannot be told any more.
        """
        if self.processes is None or now_ns - self._rules_seen_ns < _LOOK_AT_RULES_EVERY_NS:
            return []
        since_ns, self._rules_seen_ns = self._rules_seen_ns, now_ns
        rules = control.rules()
        if why := hindrance(status, rules):
            raise OSError(errno.EPERM, why)
        if any(map(tells_execs, rules)):
            return []
        again = [rule for rule in exec_rules() if control.add_rule(rule)]
        self._added = [*dict.fromkeys([*self._added, *again])]
        detail = "somebody removed the rules by which executions are told; they are back"
        return [LossRecord(self.name, now_ns, since_ns, None, detail)]

    def _loss(self, now_ns: int, lost: int | None, detail: str) -> LossRecord:
        return LossRecord(self.name, now_ns, self._well_ns, lost, detail)

    def _step_aside(self) -> None:
        """Give the place to a daemon that wants it, and read along.

        Audit stays on meanwhile, so that nothing is lost until that one begins.
        """
        reading = AuditSocket(READ_LOG_GROUP, self._room)
        self._patience_ns = _PATIENCE_NS
        found, own = self._found, self._socket
        if found is None or own is None:
            reading.close()
            return
        staying = exec_rules() if self.processes is not None else ()
        for rule in self._added:
            if rule not in staying:
                own.delete_rule(rule)
        self._added = [rule for rule in self._added if rule in staying]
        own.set_backlog(found.backlog_limit, found.backlog_wait_time)
        own.set_daemon(0)
        self._found, self._left = None, found
        own.close()
        self._socket = reading

    def _give_back(self, control: AuditSocket) -> None:
        rules, self._added = self._added, []
        for rule in rules:
            control.delete_rule(rule)
        found, self._found = self._found, None
        left, self._left = self._left, None
        if left is not None and not left.enabled and not control.status().daemon_pid:
            control.set_enabled(0)
        if found is None or self._socket is None:
            return
        if not found.enabled:
            self._socket.set_enabled(0)
        self._socket.set_backlog(found.backlog_limit, found.backlog_wait_time)
        self._socket.set_daemon(0)

    def close(self) -> None:
        """See Sensor."""
        control = self._control
        try:
            if control is not None:
                self._give_back(control)
        finally:
            if self._socket is not None:
                self._socket.close()
            if control is not None:
                control.close()
            self._socket = self._control = None


def is_auditd(pid: int) -> bool:
    """Whether a process is auditd, and not another agent."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() == (
            _AUDITD
        )
    except OSError:
        return False
