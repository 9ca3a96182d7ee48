"""Who acted, as far as an audit log tells: only programs that were executed are told whole.

A process that was never seen to execute is known by what its own records say of it: its program,
its user, its session, its parent.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from agent.logged_facts import number_of
from agent.processes import Process
from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import Call, exec_of, program_of, terminal_of
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.identify import Identifier

MOST_KNOWN: Final = 20_000
"""Logs tell no ends: who was not heard of for longest is forgotten."""
SOON_NS: Final = 5_000_000_000
"""A pid that executes again after longer is another process: forks and ends are not logged."""
_NOT_TERMINALS: Final = frozenset(("ssh", "cron", "sshd", "atd", "systemd", "console-kit"))
_FAR: Final = 1 << 62


class LoggedProcesses:
    """Follows the processes of one boot of a logged host."""

    def __init__(self, identifier: Identifier) -> None:
        """Make them known to `identifier`."""
        self._identifier = identifier
        self._heard: OrderedDict[int, int] = OrderedDict()

    def executed(self, event: KernelEvent, call: Call) -> tuple[Process, ProcessRecord] | None:
        """Follow the execve of an event; None when it is none."""
        known = self._identifier.processes.get(call.pid)
        same = (
            known is not None
            and event.wall_ns - self._heard.get(call.pid, -_FAR) <= SOON_NS
            and known.parent_pid == call.ppid
            and _session_of(known) == call.session_id
        )
        start_ns = known.start_ns if known is not None and same else None
        record = exec_of(event, 0, call=call, start_ns=start_ns)
        if record is None:
            return None
        self._hear_of(call.pid, event.wall_ns)
        return self._identifier.exec(record), record

    def caller(self, call: Call, wall_ns: int) -> Process:
        """Return the process of a system call that is no execve."""
        known = self._identifier.processes.get(call.pid)
        if known is not None and _is_same(known, call.executable, call.session_id):
            self._hear_of(call.pid, wall_ns)
            return known
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

    def speaker(
        self, fields: Mapping[str, bytes], wall_ns: int, *, opens: bool = False
    ) -> Process | None:
        """Return the process that a record of user space or a LOGIN is about.

        Args:
            fields: of the record.
            wall_ns: its time.
            opens: whether it tells of a session that begins.
        """
        pid = number_of(fields.get("pid", b"")) or 0
        if not 0 < pid <= 0x7FFFFFFF:  # noqa: PLR2004  (as the contract has them)
            return None
        session = _id(fields, "ses")
        executable = program_of(fields.get("exe", b""))
        known = self._identifier.processes.get(pid)
        if known is None or not _is_same(known, executable, session):
            if not executable:
                return None
            known = self._met(
                wall_ns,
                pid=pid,
                ppid=known.parent_pid if known is not None else 0,
                user_id=_id(fields, "uid"),
                effective_user_id=_id(fields, "uid"),
                login_user_id=_id(fields, "old-auid" if opens else "auid"),
                session_id=_id(fields, "old-ses" if opens else "ses"),
                terminal=_terminal(fields),
                executable=executable,
            )
        else:
            self._hear_of(pid, wall_ns)
        if opens and session != UNSET_ID:
            self._joins(known, fields, session, wall_ns)
        return known

    def _joins(
        self, process: Process, fields: Mapping[str, bytes], session: int, wall_ns: int
    ) -> None:
        terminal = _terminal(fields)
        joined = process.session
        if (
            joined is not None
            and joined.session_id == session
            and (joined.terminal or not terminal)
        ):
            return
        record = _record(
            wall_ns,
            pid=process.pid,
            ppid=process.parent_pid,
            login_user_id=_id(fields, "auid"),
            session_id=session,
            terminal=terminal,
        )
        self._identifier.book.follow(process, record, process, process.pid)

    def closes(self, fields: Mapping[str, bytes], process: Process, wall_ns: int) -> bool:
        """End the session that `process` led, when the record is about that; whether it did."""
        session = self._identifier.book.sessions.get(_id(fields, "ses"))
        if session is None or session.leader_pid != process.pid or session.over:
            return False
        self._identifier.book.end(process, wall_ns)
        return True

    def _met(self, wall_ns: int, **known: int | str | bytes) -> Process:
        record = _record(wall_ns, **known)  # type: ignore[arg-type]
        process = self._identifier.preexisting(record)
        process.image.ClearField("start_time")  # it began before; nobody knows when
        if process.session is not None and process.session.began_ns == wall_ns:
            process.session.preexisting = True
        self._hear_of(record.pid, wall_ns)
        return process

    def _hear_of(self, pid: int, wall_ns: int) -> None:
        heard = self._heard
        heard[pid] = wall_ns
        heard.move_to_end(pid)
        if len(heard) > MOST_KNOWN:
            oldest, _ = heard.popitem(last=False)
            gone = self._identifier.processes.get(oldest)
            if gone is not None:
                self._identifier.processes.end(gone, -_FAR)


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


def _record(
    wall_ns: int,
    *,
    pid: int,
    ppid: int,
    login_user_id: int,
    session_id: int,
    terminal: str,
    user_id: int = UNSET_ID,
    effective_user_id: int = UNSET_ID,
    executable: bytes = b"",
) -> ProcessRecord:
    return ProcessRecord(
        kind="snapshot",
        boot_ns=wall_ns,
        start_ns=wall_ns,
        pid=pid,
        ppid=ppid,
        # What PID 1 started it started as a service, in a session of its own.
        session_leader=pid if ppid == 1 else 0,
        user_id=user_id,
        effective_user_id=effective_user_id,
        login_user_id=login_user_id,
        session_id=session_id,
        terminal=terminal,
        exit_status=0,
        requested_path=b"",
        executable=executable,
        arguments=(),
        arguments_cut=False,
        working_directory=b"",
        cgroup="",
        exact=True,
    )


def _id(fields: Mapping[str, bytes], name: str) -> int:
    number = number_of(fields.get(name, b""))
    return number if number is not None and number <= UNSET_ID else UNSET_ID


def _terminal(fields: Mapping[str, bytes]) -> str:
    name = terminal_of(fields.get("terminal", b"") or fields.get("tty", b""))
    return "" if name in _NOT_TERMINALS else name
