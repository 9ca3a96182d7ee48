"""Who acted, as far as an audit log tells: only programs that were executed are told whole.

A process that was never seen to execute is known by what its own records say of it: its program,
its user, its session, its parent; or by the call of its parent that forked it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from agent.logged_accounts import number_of
from agent.logged_names import LoggedNames
from agent.logged_sessions import LoggedSessions, id_of, opens, record_of, terminal_in
from agent.processes import Process
from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import MOST_PID, Call, exec_of, program_of
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.identify import Identifier
from agent.stages.sessions import USER_MANAGER

MOST_KNOWN: Final = 20_000
"""Logs seldom tell ends: who was not heard of for longest is forgotten."""
SOON_NS: Final = 5_000_000_000
"""A pid that executes again after longer is another process: few logs tell forks, none ends."""
_SUDO: Final = b"/usr/bin/sudo"
_FAR: Final = 1 << 62


class LoggedProcesses:
    """Follows the processes of one boot of a logged host."""

    def __init__(self, identifier: Identifier, names: LoggedNames) -> None:
        """Make them known to `identifier`."""
        self._identifier = identifier
        self.sessions = LoggedSessions(identifier, names)
        self._heard: OrderedDict[int, int] = OrderedDict()

    def executed(self, event: KernelEvent, call: Call) -> tuple[Process, ProcessRecord] | None:
        """Follow the execve of an event; None when it is none."""
        processes = self._identifier.processes
        known = processes.get(call.pid)
        same = (
            known is not None
            and (not known.executed or self._is_recent(call.pid, event.wall_ns))
            and known.parent_pid == call.ppid
            and _session_of(known) == call.session_id
        )
        start_ns = known.start_ns if known is not None and same else None
        record = exec_of(event, 0, call=call, start_ns=start_ns)
        if record is None:
            return None
        if not same:
            self._leave_stale(call)
        if call.session_id != UNSET_ID:
            self.sessions.settle(call.login_user_id, call.session_id)
            if call.ppid == 1:
                self.sessions.orphaned(call.login_user_id, call.session_id, event.wall_ns)
        self._hear_of(call.pid, event.wall_ns)
        process = self._identifier.exec(record)
        self._root(process, event.wall_ns)
        return process, record

    def caller(self, call: Call, wall_ns: int) -> Process:
        """Return the process of a system call that is no execve."""
        known = self._identifier.processes.get(call.pid)
        if known is not None and _is_same(known, call.executable, call.session_id):
            self._hear_of(call.pid, wall_ns)
            return known
        self._leave_stale(call)
        parent = self._identifier.processes.get(call.ppid)
        if parent is not None and _is_same(parent, call.executable, call.session_id):
            # It runs what its parent runs: a fork, of which no other record tells.
            return self._fork(call, call.pid, parent, wall_ns)
        return self._met(
            wall_ns,
            pid=call.pid,
            ppid=call.ppid,
            user_id=call.user_id,
            effective_user_id=call.effective_user_id,
            login_user_id=call.login_user_id,
            session_id=call.session_id,
            terminal=call.terminal,
            executable=call.executable,
        )

    def forked(self, call: Call, child: int, wall_ns: int) -> None:
        """Note that a process forked `child`, which may have been heard of before its parent."""
        if not 0 < child <= MOST_PID or child == call.pid:
            return
        parent = self.caller(call, wall_ns)
        known = self._identifier.processes.get(child)
        if known is None or known.parent_pid != parent.pid or not self._is_recent(child, wall_ns):
            self._fork(call, child, parent, wall_ns)

    def _fork(self, call: Call, pid: int, parent: Process, wall_ns: int) -> Process:
        self._hear_of(pid, wall_ns)
        return self._identifier.fork(
            record_of(
                wall_ns,
                pid=pid,
                ppid=parent.pid,
                user_id=call.user_id,
                effective_user_id=call.effective_user_id,
                login_user_id=call.login_user_id,
                session_id=call.session_id,
                terminal=call.terminal,
                kind="fork",
            )
        )

    def speaker(
        self, kind: str, fields: Mapping[str, bytes], wall_ns: int, *, may_open: bool = False
    ) -> Process | None:
        """Return the process that a record of user space or a LOGIN is about.

        Args:
            kind: type of the record.
            fields: of the record.
            wall_ns: its time.
            may_open: whether its type may tell of a session that begins.
        """
        pid = number_of(fields.get("pid", b"")) or 0
        if not 0 < pid <= MOST_PID:
            return None
        begins = may_open and opens(kind, fields)
        login = begins and kind == "LOGIN"
        session = id_of(fields, "ses")
        executable = program_of(fields.get("exe", b""))
        known = self._identifier.processes.get(pid)
        if known is None or not _is_same(known, executable, session):
            if not executable and kind == "USER_CMD":
                executable = _SUDO  # nobody else writes it; until 2018 sudo did not name itself
            if not executable:
                return None
            known = self._met(
                wall_ns,
                pid=pid,
                ppid=known.parent_pid if known is not None else 0,
                user_id=id_of(fields, "uid"),
                effective_user_id=0 if kind == "USER_CMD" else id_of(fields, "uid"),
                login_user_id=UNSET_ID
                if begins and not login
                else id_of(fields, _before(login)[0]),
                session_id=UNSET_ID if begins and not login else id_of(fields, _before(login)[1]),
                terminal=terminal_in(fields),
                executable=executable,
                working_directory=fields.get("cwd", b""),
            )
        else:
            self._hear_of(pid, wall_ns)
        if begins:
            self.sessions.begins(known, fields, wall_ns, login=login)
        return known

    def _met(self, wall_ns: int, **known: int | str | bytes) -> Process:
        record = record_of(wall_ns, **known)  # type: ignore[arg-type]
        self.sessions.settle(record.login_user_id, record.session_id)
        process = self._identifier.preexisting(record)
        process.image.ClearField("start_time")  # it began before; nobody knows when
        if process.session is not None and process.session.began_ns == wall_ns:
            process.session.preexisting = True
        self._root(process, wall_ns)
        self._hear_of(record.pid, wall_ns)
        return process

    def _root(self, process: Process, wall_ns: int) -> None:
        """Let a process whose master was not seen belong to its own program, as does all below."""
        first = self._identifier.processes.get(1) if process.parent_pid == 1 else None
        if first is not None and process.session is None and process.service == first.service:
            process.service = ""  # what PID 1 started is no work of PID 1's
        elif (
            process.service
            or (process.session is not None and process.session.kind != USER_MANAGER)
            or process.terminal
            or process.above is not None
        ):
            return
        if not process.program:
            return
        process.service = process.program.decode("utf-8", "backslashreplace")
        process.known_ran = self._identifier.images.refresh(process, wall_ns)

    def _leave_stale(self, call: Call) -> None:
        """Forget the parent of a caller when it is in another session: its pid is another's now.

        A session is left by writing a login uid only, and of that a LOGIN tells.
        """
        parent = self._identifier.processes.get(call.ppid)
        if parent is None:
            return
        session = _session_of(parent)
        if session not in (UNSET_ID, call.session_id):
            self._heard.pop(call.ppid, None)
            self._identifier.processes.end(parent, -_FAR)

    def _is_recent(self, pid: int, wall_ns: int) -> bool:
        return wall_ns - self._heard.get(pid, -_FAR) <= SOON_NS

    def _hear_of(self, pid: int, wall_ns: int) -> None:
        heard = self._heard
        heard[pid] = wall_ns
        heard.move_to_end(pid)
        if len(heard) > MOST_KNOWN:
            oldest, _ = heard.popitem(last=False)
            gone = self._identifier.processes.get(oldest)
            if gone is not None:
                self._identifier.processes.end(gone, -_FAR)


def _before(login: bool) -> tuple[str, str]:  # noqa: FBT001  (one caller)
    """Return the names of the fields for what a process was in before a record's own doing."""
    return ("old-auid", "old-ses") if login else ("auid", "ses")


def _is_same(known: Process, executable: bytes, session: int) -> bool:
    """Whether `known` may be who runs `executable` in `session`: pids are used again."""
    if executable and known.executable != executable:
        return False
    return _session_of(known) in (UNSET_ID, session)


def _session_of(known: Process) -> int:
    """Return the audit session that the kernel had for a process lately."""
    if known.kernel_login is not None:
        return known.kernel_login[1]
    return UNSET_ID if known.audit_session_id is None else known.audit_session_id
