"""The audit sessions of this host: joined by processes, told as news, ended with their opener."""

from collections.abc import Iterator
from typing import NamedTuple

from agent.processes import Process, Processes
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.sessions import UNKNOWN, Session, kind_of_opener

ADDRESS_WAIT_NS = 500_000_000
MOST_CHANGES = 1000
"""Of login uids, within a tick."""
MOST_SESSIONS = 1000
"""Sessions that are over and nobody is in are forgotten beyond this."""


class LoginChange(NamedTuple):
    """A process in a session wrote its own audit login uid."""

    boot_ns: int
    process: Process
    before: tuple[int, int]
    """(audit login uid, audit session)."""
    now: tuple[int, int]


class SessionBook:
    """Every session that somebody is in."""

    def __init__(self, processes: Processes) -> None:
        """Begin empty."""
        self._processes = processes
        self.sessions: dict[int, Session] = {}
        self._led: dict[int, Session] = {}
        self._told: list[tuple[int, Process | None, Session, bool]] = []
        self.login_changes: list[LoginChange] = []
        """What was noticed and not told yet."""

    @property
    def has_news(self) -> bool:
        """Whether there may be something to tell."""
        return bool(self._told or self.login_changes)

    def news(self, now_ns: int = 1 << 62) -> Iterator[tuple[int, Process | None, Session, bool]]:
        """Yield and forget (boot ns, process, session, ended) for sessions that have news.

        The start of an ssh session waits up to half a second for the client's address: a login
        without it is of little use, and what is sealed does not change.
        """
        told, self._told = self._told, []
        said: set[int] = set()
        for news in told:
            boot_ns, _, session, ended = news
            if not ended and session.awaits_address and now_ns - boot_ns < ADDRESS_WAIT_NS:
                self._told.append(news)
            elif ended or session.session_id not in said:
                said.add(session.session_id)
                yield news

    def follow(
        self, process: Process, record: ProcessRecord, opener: Process | None, leader_pid: int
    ) -> None:
        """Join the audit session the kernel names; what the process was in before sticks."""
        known = process.kernel_login
        if known is None or known[0] != record.login_user_id or known[1] != record.session_id:
            now = (record.login_user_id, record.session_id)
            self.login_is(opener or process, now, record.boot_ns)
            process.kernel_login = now
        if UNSET_ID in (record.session_id, record.login_user_id):
            # Root can unset its own login: the process keeps what it had.
            return
        session = self.sessions.get(record.session_id)
        if session is None:
            executable = opener.executable if opener is not None else b""
            kind = kind_of_opener(executable)
            if kind == UNKNOWN and process.session is not None:
                # Written by hand within a session: not a login. The person behind it stays.
                return
            session = Session(
                record.session_id,
                record.login_user_id,
                executable,
                kind,
                leader_pid,
                record.boot_ns,
            )
            self.sessions[record.session_id] = self._led[leader_pid] = session
            self._told.append((record.boot_ns, process, session, False))
        _join(process, session)
        if record.terminal and not session.terminal:
            session.terminal = record.terminal
            self._told.append((record.boot_ns, process, session, False))

    def login_is(self, writer: Process, now: tuple[int, int], boot_ns: int) -> None:
        """Note what (login uid, session) the kernel has for a process; keep a change to be told.

        A program that opens sessions may write it: that is a login. Outside any session so may
        everybody else: whoever opens a session that way is named as its opener.
        """
        before, writer.kernel_login = writer.kernel_login, now
        if (
            before not in (None, now)
            and writer.session is not None
            and kind_of_opener(writer.executable) == UNKNOWN
            and len(self.login_changes) < MOST_CHANGES
        ):
            self.login_changes.append(LoginChange(boot_ns, writer, before, now))

    def take_login_changes(self) -> list[LoginChange]:
        """Return, and forget, the changes that were kept to be told."""
        changes, self.login_changes = self.login_changes, []
        return changes

    def follow_preexisting(
        self, process: Process, record: ProcessRecord, parent: Process | None
    ) -> None:
        """Join the session of a process that ran before the agent; guess who opened it."""
        process.kernel_login = (record.login_user_id, record.session_id)
        if UNSET_ID in (record.session_id, record.login_user_id):
            return
        session = self.sessions.get(record.session_id)
        if session is None:
            above = parent.executable if parent is not None else b""
            kind = kind_of_opener(record.executable)
            leader = record.pid
            if kind == UNKNOWN and kind_of_opener(above) != UNKNOWN:
                kind, leader = kind_of_opener(above), record.ppid
            session = Session(
                record.session_id,
                record.login_user_id,
                record.executable if leader == record.pid else above,
                kind,
                leader,
                record.start_ns,
                preexisting=True,
            )
            self.sessions[record.session_id] = self._led[leader] = session
            self._told.append((record.boot_ns, process, session, False))
        session.terminal = session.terminal or record.terminal
        _join(process, session)

    def address_known(self, session_id: int, address: str, boot_ns: int) -> None:
        """Note where a session came from (it becomes known late)."""
        session = self.sessions.get(session_id)
        if session is not None and address and session.source_address != address:
            session.source_address = address
            self._told.append((boot_ns, self._processes.get(session.leader_pid), session, False))

    def end(self, process: Process, boot_ns: int) -> None:
        """End the session that `process` led: its monitor often is not in it by any record."""
        session = self._led.pop(process.pid, None)
        if session is not None and not session.over:
            session.over, session.over_ns = True, boot_ns
            self._told.append((boot_ns, process, session, True))

    def forget(self) -> None:
        """Forget sessions that nothing can refer to any more."""
        if len(self.sessions) > MOST_SESSIONS:
            used = {id(process.session) for process in self._processes}
            for key, session in list(self.sessions.items()):
                if session.over and id(session) not in used:
                    del self.sessions[key]


def _join(process: Process, session: Session) -> None:
    process.session = session
    process.login_user_id = session.login_user_id
    process.audit_session_id = session.session_id
