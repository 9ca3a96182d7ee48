"""Logins, sudo, account tools and firewall changes, as the audit system tells them.

"Audit lite": audit is enabled with one rule, task,never. User-space messages, LOGIN and
NETFILTER_CFG records need no system call auditing, so no process is slowed down.

Only one process can be the audit daemon. Where there is none, we are (unicast), and give back what
we found on close. Where there is one, auditd or another agent, we read copies of its records
(multicast) and touch no setting of its.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.sensors.audit_netlink import (
    READ_LOG_GROUP,
    REPLACED,
    TASK_NEVER,
    AuditSocket,
    Status,
)
from agent.sensors.audit_records import parse
from agent.sensors.records import LossRecord, Record
from agent.sensors.unavailable import SensorUnavailable

_BACKLOG_LIMIT: Final = 8192
_LOCKED: Final = 2
_FIRST_RECORD: Final = 1005
_LOOK_AT_STATUS_EVERY_NS: Final = 1_000_000_000
_PATIENCE_NS: Final = 60_000_000_000
"""How long the place stays free for an auditd that restarts: it gives up when it is taken."""
_AUDITD: Final = "auditd"
_NO_RECORDS: Final = frozenset((1320,))
"""EOE ends the records of a system call and says nothing."""


class AuditSensor:
    """Records of user space and of configuration.

    Raises:
        SensorUnavailable: Not permitted, or a kernel without audit.
    """

    name = "audit"

    def __init__(self) -> None:
        """Take the daemon's place, or read along with who has it."""
        self._found: Status | None = None
        """Settings to give back; None when they are not ours to touch."""
        self._rule_is_ours = False
        self._socket: AuditSocket | None = None
        try:
            self._socket = self._as_daemon() or AuditSocket(READ_LOG_GROUP)
        except OSError as error:
            self.close()
            permitted = not isinstance(error, PermissionError)
            why = error.strerror if permitted else "not permitted (needs root, or CAP_AUDIT_READ)"
            raise SensorUnavailable(f"the kernel does not offer audit records: {why}") from error
        self._control = AuditSocket()
        self._lost_before = self._control.status().lost
        self._looked_ns = self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._vacant_since_ns: int | None = None
        self._patience_ns = 0

    @property
    def is_daemon(self) -> bool:
        """Whether we are the audit daemon; else we read along with another."""
        return self._found is not None

    def _as_daemon(self) -> AuditSocket | None:
        """Take the place when it is free; None when it is not."""
        own = AuditSocket()
        try:
            found = own.status()
            if found.daemon_pid or found.enabled == _LOCKED:
                own.close()
                return None
            own.set_daemon(os.getpid())
        except FileExistsError:
            own.close()
            return None
        except BaseException:
            own.close()
            raise
        self._found, self._socket = found, own
        # A wait time would let a hung agent hold up every audited process.
        own.set_backlog(max(_BACKLOG_LIMIT, found.backlog_limit), 0)
        self._rule_is_ours = own.add_rule(TASK_NEVER)
        if not self._rule_is_ours and found.backlog_wait_time == 0:
            # Nobody is the daemon, yet our rule and our wait time are there: an agent was killed.
            self._rule_is_ours = True
            self._found = replace(found, enabled=0)
        if not found.enabled:
            own.set_enabled(1)
        return own

    def drain(self) -> list[Record]:
        """See Sensor."""
        assert self._socket is not None, "drained after close"  # noqa: S101 - a programming error
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        messages, overflows = self._socket.receive()
        records: list[Record] = [
            parse(kind, text)
            for kind, text in messages
            if kind >= _FIRST_RECORD and kind != REPLACED and kind not in _NO_RECORDS
        ]
        if overflows and not self.is_daemon:  # the kernel repeats to its daemon what found no room
            records.append(self._loss(now_ns, None, "copies of audit records found no room"))
        if any(kind == REPLACED for kind, _ in messages):
            self._step_aside()
        if now_ns - self._looked_ns > _LOOK_AT_STATUS_EVERY_NS:
            self._looked_ns = now_ns
            records += self._look_at_status(now_ns)
        self._well_ns = now_ns
        return records

    def _look_at_status(self, now_ns: int) -> list[Record]:
        """What the kernel lost; and take the daemon's place when it has been free for long."""
        status = self._control.status()
        losses: list[Record] = []
        if lost := max(0, status.lost - self._lost_before):
            losses.append(self._loss(now_ns, lost, "the kernel's audit backlog was full"))
        self._lost_before = status.lost
        if self.is_daemon or status.daemon_pid:
            self._vacant_since_ns = None
            if not self.is_daemon:
                self._patience_ns = _PATIENCE_NS if _is_auditd(status.daemon_pid) else 0
        elif self._vacant_since_ns is None:
            self._vacant_since_ns = now_ns
        elif now_ns - self._vacant_since_ns > self._patience_ns and status.enabled != _LOCKED:
            reading = self._socket
            if self._as_daemon() and reading:
                reading.close()
                since_ns, self._vacant_since_ns = self._vacant_since_ns, None
                detail = "no audit daemon ran, so nothing kept the audit system on"
                losses.append(LossRecord(self.name, now_ns, since_ns, None, detail))
        return losses

    def _loss(self, now_ns: int, lost: int | None, detail: str) -> LossRecord:
        return LossRecord(self.name, now_ns, self._well_ns, lost, detail)

    def _step_aside(self) -> None:
        """Give the place to a daemon that wants it, and read along."""
        reading = AuditSocket(READ_LOG_GROUP)
        self._patience_ns = _PATIENCE_NS
        self._give_back()
        if self._socket is not None:
            self._socket.close()
        self._socket = reading

    def _give_back(self) -> None:
        found, own = self._found, self._socket
        if found is None or own is None:
            return
        self._found = None
        if self._rule_is_ours:
            own.delete_rule(TASK_NEVER)
            self._rule_is_ours = False
        if not found.enabled:
            own.set_enabled(0)
        own.set_backlog(found.backlog_limit, found.backlog_wait_time)
        own.set_daemon(0)

    def close(self) -> None:
        """See Sensor."""
        if self._socket is None:
            return
        try:
            self._give_back()
        finally:
            self._socket.close()
            self._socket = None
            self._control.close()


def _is_auditd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() == (
            _AUDITD
        )
    except OSError:
        return False
