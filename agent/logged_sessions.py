"""The audit sessions of a logged host: begun by LOGIN, joined by who is in them, closed in order.

The kernel numbers sessions from 1 with each boot. Where two boots could not be told apart a number
comes again, so a session goes by its login uid as well.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from agent.lines import Ran
from agent.logged_names import LoggedNames
from agent.processes import Process
from agent.sensors.audit_calls import terminal_of
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.identify import Identifier
from agent.stages.sessions import SCHEDULED, UNKNOWN, USER_MANAGER, Session, kind_of_opener
from nightherd.event.v1 import event_pb2 as events

MOST_ASIDE: Final = 1000
"""Sessions whose number others have now, and that may be met again."""
SAME_LOGIN_NS: Final = 2_000_000_000
"""A LOGIN may come this late after the first of those who are in its session."""
_NOT_TERMINALS: Final = frozenset(("ssh", "cron", "sshd", "atd", "systemd", "console-kit"))

_MOST_DIGITS: Final = 10

Fields = Mapping[str, bytes]


class LoggedSessions:
    """Sessions of one boot."""

    def __init__(self, identifier: Identifier, names: LoggedNames) -> None:
        """Keep them in the book of `identifier`."""
        self._identifier, self._names = identifier, names
        self._aside: OrderedDict[tuple[int, int], Session] = OrderedDict()

    def settle(self, login_user_id: int, session_id: int) -> None:
        """Make the book have a session's number for that of this login user, or for none."""
        sessions = self._identifier.book.sessions
        known = sessions.get(session_id)
        if known is None or known.login_user_id == login_user_id or session_id == UNSET_ID:
            return
        self._aside[session_id, known.login_user_id] = known
        if len(self._aside) > MOST_ASIDE:
            self._aside.popitem(last=False)
        del sessions[session_id]
        before = self._aside.pop((session_id, login_user_id), None)
        if before is not None:
            sessions[session_id] = before

    def orphaned(self, login_user_id: int, session_id: int, wall_ns: int) -> None:
        """Note a session that is met by a process which was left to PID 1: that opened none."""
        sessions = self._identifier.book.sessions
        if UNSET_ID not in (session_id, login_user_id) and session_id not in sessions:
            sessions[session_id] = Session(
                session_id, login_user_id, b"", UNKNOWN, 0, wall_ns, preexisting=True
            )

    def begins(self, process: Process, fields: Fields, wall_ns: int, *, login: bool) -> None:
        """Let `process` be in the session that a record names, begun by it if it is new.

        Args:
            process: whom the record is about.
            fields: of the record.
            wall_ns: its time.
            login: whether it is LOGIN, which the kernel writes once for each session.
        """
        session_id, login_user_id = id_of(fields, "ses"), id_of(fields, "auid")
        if session_id == UNSET_ID:
            return
        self.settle(login_user_id, session_id)
        book, terminal = self._identifier.book, terminal_in(fields)
        known = book.sessions.get(session_id)
        if (
            login
            and known is not None
            and known.leader_pid != process.pid
            and wall_ns - known.began_ns > SAME_LOGIN_NS
        ):
            del book.sessions[session_id]  # its number is another's now
        elif (
            known is not None
            and process.session is known
            and (known.terminal or not terminal)
            and process.image.session_id == session_id
            and process.image.login_user == self._names[login_user_id]
        ):
            return
        record = record_of(
            wall_ns,
            pid=process.pid,
            ppid=process.parent_pid,
            login_user_id=login_user_id,
            session_id=session_id,
            terminal=terminal,
        )
        book.follow(process, record, process, process.pid)
        if process.session is not None:
            self._is_in(process, process.session, wall_ns)

    def _is_in(self, process: Process, session: Session, wall_ns: int) -> None:
        """Let the image of `process` say that it is in `session`: it was made before."""
        if session.kind == SCHEDULED:
            process.service = session.opener.decode("utf-8", "backslashreplace")
        elif session.kind != USER_MANAGER:
            process.service = ""
        image = events.Image()
        image.CopyFrom(process.ran.image)
        image.login_user_id, image.session_id = session.login_user_id, session.session_id
        image.login_user = self._names[session.login_user_id]
        process.known_ran = Ran(image, process.ran.above)
        self._identifier.images.refresh(process, wall_ns)

    def closes(self, fields: Fields, process: Process, wall_ns: int) -> bool:
        """End the session that `process` led, when the record is about that; whether it did."""
        session = self._identifier.book.sessions.get(id_of(fields, "ses"))
        if session is None or session.leader_pid != process.pid or session.over:
            return False
        if session.preexisting and session.kind == UNKNOWN:
            return False  # who leads it was never seen: sudo closes what it opened, not the session
        self._identifier.book.end(process, wall_ns)
        return True


_kind_of: Final = lru_cache(maxsize=256)(kind_of_opener)


def opens(kind: str, fields: Fields) -> bool:
    """Whether a record of a type that tells of sessions tells of one that begins.

    sudo and su write a USER_START as well, within the session of who calls them.
    """
    return kind == "LOGIN" or _kind_of(fields.get("exe", b"")) != UNKNOWN


def id_of(fields: Fields, name: str) -> int:
    """Return a uid or the number of a session; UNSET_ID when a record has none."""
    raw = fields.get(name, b"")
    return min(int(raw), UNSET_ID) if raw.isdigit() and len(raw) <= _MOST_DIGITS else UNSET_ID


def terminal_in(fields: Fields) -> str:
    """Return the terminal that a record names; "" when that is none."""
    name = terminal_of(fields.get("terminal", b"") or fields.get("tty", b""))
    return "" if name in _NOT_TERMINALS else name


def record_of(
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
    working_directory: bytes = b"",
    kind: str = "snapshot",
) -> ProcessRecord:
    """Return what a record tells of a process that was not seen to execute."""
    return ProcessRecord(
        kind=kind,
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
        working_directory=working_directory,
        cgroup="",
        exact=True,
    )
