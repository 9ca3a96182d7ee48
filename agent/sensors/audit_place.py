"""Our place in the audit system: that of its daemon, or one beside another that has it.

Only one process can be the audit daemon. Where there is none, we are (unicast), and give back what
we found on close. Where there is one, auditd or another agent, we read copies of its records
(multicast) and touch no setting of its.
"""

import errno
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.sensors.audit_netlink import (
    READ_LOG_GROUP,
    RECEIVE_BYTES,
    TASK_NEVER,
    AuditSocket,
    Status,
)
from agent.sensors.audit_rules import (
    EXCLUSIONS,
    LOCKED,
    exec_rules,
    hindrance,
    stale,
    tells_execs,
)
from agent.sensors.unavailable import SensorUnavailable

_BACKLOG_LIMIT: Final = 8192
_EXECUTIONS_BYTES: Final = 64 << 20
"""With executions more must find room to wait: 2 s of 4,500 a second, as measured."""
_AUDITD: Final = "auditd"


class AuditPlace:
    """Where records come from, with the rules and settings that we answer for.

    Args:
        executions: whether rules are to tell every execution.

    Raises:
        OSError: Not permitted, or a kernel without audit.
        SensorUnavailable: Rules that cannot be changed keep executions from being told.
    """

    def __init__(self, *, executions: bool) -> None:
        """Take the daemon's place, or one beside who has it."""
        self._executions = executions
        self._found: Status | None = None
        """Settings to give back; None when they are not ours to touch."""
        self._left: Status | None = None
        """The same, once the place was given back and nobody has taken it yet."""
        self._added: list[bytes] = []
        """Rules that are ours to remove."""
        self.socket: AuditSocket | None = None
        """Where records come; None: closed."""
        self.control = AuditSocket()
        try:
            self._remove_stale()
            self.socket = self._as_daemon() or self._beside_another()
            self.lost_before = self.control.status().lost
        except BaseException:  # whatever it was: what was changed is given back
            self.close()
            raise

    @property
    def is_daemon(self) -> bool:
        """Whether we are the audit daemon; else we read along with another."""
        return self._found is not None

    @property
    def keeps_audit_on(self) -> bool:
        """Whether audit is still on as we left it when somebody wanted our place."""
        return self._left is not None

    def is_had(self) -> None:
        """Somebody has the daemon's place: what was there before is theirs to give back."""
        self._left = None

    def take_over(self) -> bool:
        """Take the daemon's place from beside it; False: it is not free after all."""
        reading = self.socket
        if self._as_daemon() and reading:
            reading.close()
            return True
        return False

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
        except BaseException:  # whatever it was: nothing is ours yet but the socket
            own.close()
            raise
        if self._left is not None:
            found, self._left = self._left, None
        self._found, self.socket = found, own
        # A wait time would let a hung agent hold up every audited process.
        own.set_backlog(max(_BACKLOG_LIMIT, found.backlog_limit), 0)
        self._add_own_rules(own, found)
        if not found.enabled:
            own.set_enabled(1)
        return own

    def _add_own_rules(self, own: AuditSocket, found: Status) -> None:
        mine: tuple[bytes, ...] = (TASK_NEVER,)
        others: tuple[bytes, ...] = EXCLUSIONS
        if self._executions:
            mine, others = (*exec_rules(), *EXCLUSIONS), mine
        # Nobody is the daemon, yet our wait time is there: an agent was killed, its rules stayed.
        stale = found.backlog_wait_time == 0
        if stale:
            for rule in others:
                own.delete_rule(rule)
        if self._executions and (why := hindrance(replace(found, enabled=1), own.rules())):
            raise SensorUnavailable(why)
        kept, self._added = self._added, []
        added = [rule for rule in mine if own.add_rule(rule) or rule in kept]
        self._added = list(mine) if stale else added
        if stale and len(added) < len(mine):
            self._found = replace(found, enabled=0)

    def _beside_another(self) -> AuditSocket:
        """Read along; executions are told by rules that have our key, or somebody's that stand."""
        if self._executions:
            status, rules = self.control.status(), self.control.rules()
            if why := hindrance(status, rules):
                raise SensorUnavailable(why)
            if status.enabled != LOCKED:
                self._added = [rule for rule in exec_rules() if self.control.add_rule(rule)]
        return AuditSocket(READ_LOG_GROUP, self._room)

    @property
    def _room(self) -> int:
        return _EXECUTIONS_BYTES if self._executions else RECEIVE_BYTES

    def _remove_stale(self) -> None:
        """Remove the rules of agents that were killed, where rules may be changed."""
        with suppress(PermissionError):
            for rule in stale(self.control.rules()):
                self.control.delete_rule(rule)

    def add_rules_again(self, status: Status) -> bool:
        """Add our rules where none tells executions any more; whether that was so.

        Raises:
            OSError: executions cannot be told any more.
        """
        rules = self.control.rules()
        if why := hindrance(status, rules):
            raise OSError(errno.EPERM, why)
        if any(map(tells_execs, rules)):
            return False
        again = [rule for rule in exec_rules() if self.control.add_rule(rule)]
        self._added = [*dict.fromkeys([*self._added, *again])]
        return True

    def step_aside(self) -> None:
        """Give the place to a daemon that wants it, and read along.

        Audit stays on meanwhile, so that nothing is lost until that one begins.
        """
        reading = AuditSocket(READ_LOG_GROUP, self._room)
        found, own = self._found, self.socket
        if found is None or own is None:
            reading.close()
            return
        staying = exec_rules() if self._executions else ()
        for rule in self._added:
            if rule not in staying:
                own.delete_rule(rule)
        self._added = [rule for rule in self._added if rule in staying]
        own.set_backlog(found.backlog_limit, found.backlog_wait_time)
        own.set_daemon(0)
        self._found, self._left = None, found
        own.close()
        self.socket = reading

    def _give_back(self) -> None:
        control = self.control
        rules, self._added = self._added, []
        for rule in rules:
            control.delete_rule(rule)
        found, self._found = self._found, None
        left, self._left = self._left, None
        if left is not None and not left.enabled and not control.status().daemon_pid:
            control.set_enabled(0)
        if found is None or self.socket is None:
            return
        if not found.enabled:
            self.socket.set_enabled(0)
        self.socket.set_backlog(found.backlog_limit, found.backlog_wait_time)
        self.socket.set_daemon(0)

    def close(self) -> None:
        """Give back what we found."""
        try:
            self._give_back()
        finally:
            if self.socket is not None:
                self.socket.close()
            self.control.close()
            self.socket = None


def is_auditd(pid: int) -> bool:
    """Whether a process is auditd, and not another agent."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() == (
            _AUDITD
        )
    except OSError:
        return False
