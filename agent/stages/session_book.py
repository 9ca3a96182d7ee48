"""The audit sessions of this host: joined by processes, told as news, ended with their opener."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent.processes import Process, Processes
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.sessions import UNKNOWN, Session, kind_of_opener

ADDRESS_WAIT_NS = 500_000_000
MOST_CHANGES = 1000
"""Of login uids, within a tick."""
MOST_ADDRESSES = 256
"""That are known before their session is."""
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

    def __init__(
        self, processes: Processes, genuine: Callable[[bytes], bool] = lambda _: True
    ) -> None:
        """Begin empty; `genuine` says whether a program is the one that its path names."""
        self._processes = processes
        self._genuine = genuine
        self._addresses: dict[tuple[str, int], str] = {}
        """("session" or "pid", its number) -> address, until the session is known."""
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

    def opened(self, session_id: int, login_user_id: int, pid: int, opener: bytes, at: int) -> None:
        """Note that a process opened a session, as an audit record tells.

        Args:
            session_id: the kernel's number.
            login_user_id: whose it is.
            pid: who wrote the login uid: the session ends with it.
            opener: its executable; b"" when the record does not say.
            at: time of the record (boot clock).
        """
        writer = self._processes.get(pid)
        opener = opener or (writer.executable if writer is not None else b"")
        kind = self._kind(opener)
        session = self.sessions.get(session_id)
        if session is None:
            if kind == UNKNOWN and writer is not None and writer.session is not None:
                return  # Written by hand within a session: not a login.
            self._add(Session(session_id, login_user_id, opener, kind, pid, at))
            return
        if session.preexisting:
            return
        if session.kind == UNKNOWN and kind != UNKNOWN:
            session.kind, session.opener = kind, opener
        if session.leader_pid != pid:
            self._led.pop(session.leader_pid, None)
            session.leader_pid, session.over, session.over_ns = pid, False, 0
            self._led[pid] = session

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
            kind = self._kind(executable)
            if kind == UNKNOWN and process.session is not None:
                # Written by hand within a session: not a login. The person behind it stays.
                return
            session = self._add(
                Session(
                    record.session_id,
                    record.login_user_id,
                    executable,
                    kind,
                    leader_pid,
                    record.boot_ns,
                )
            )
        _join(process, session)
        more = bool(record.terminal) and not session.terminal
        if more:
            session.terminal = record.terminal
        if more or not session.announced:
            session.announced = True
            self._told.append((record.boot_ns, process, session, False))

    def _add(self, session: Session) -> Session:
        self.sessions[session.session_id] = self._led[session.leader_pid] = session
        found = [
            self._addresses.pop(("session", session.session_id), ""),
            self._addresses.pop(("pid", session.leader_pid), ""),
        ]
        session.source_address = found[0] or found[1]
        return session

    def _kind(self, executable: bytes) -> str:
        kind = kind_of_opener(executable)
        return kind if kind == UNKNOWN or self._genuine(executable) else UNKNOWN

    def login_is(self, writer: Process, now: tuple[int, int], boot_ns: int) -> None:
        """Note what (login uid, session) the kernel has for a process; keep a change to be told.

        A program that opens sessions may write it: that is a login. Outside any session so may
        everybody else: whoever opens a session that way is named as its opener.
        """
        before, writer.kernel_login = writer.kernel_login, now
        if (
            before not in (None, now)
            and writer.session is not None
            and self._kind(writer.executable) == UNKNOWN
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
            kind = self._kind(record.executable)
            leader = record.pid
            if kind == UNKNOWN and self._kind(above) != UNKNOWN:
                kind, leader = self._kind(above), record.ppid
            session = self._add(
                Session(
                    record.session_id,
                    record.login_user_id,
                    record.executable if leader == record.pid else above,
                    kind,
                    leader,
                    record.start_ns,
                    preexisting=True,
                    announced=True,
                )
            )
            self._told.append((record.boot_ns, process, session, False))
        session.terminal = session.terminal or record.terminal
        _join(process, session)

    def address_known(self, session_id: int, address: str, boot_ns: int) -> None:
        """Note where a session came from (it becomes known late, or before the session)."""
        session = self.sessions.get(session_id)
        if session is None:
            self._keep_address("session", session_id, address)
        elif address and session.source_address != address:
            session.source_address = address
            if session.announced:
                leader = self._processes.get(session.leader_pid)
                self._told.append((boot_ns, leader, session, False))

    def address_of_opener(self, pid: int, address: str) -> None:
        """Note from where somebody talks to a process that may open a session next."""
        self._keep_address("pid", pid, address)

    def _keep_address(self, what: str, number: int, address: str) -> None:
        self._addresses.pop((what, number), None)
        self._addresses[what, number] = address
        if len(self._addresses) > MOST_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]

    def end(self, process: Process, boot_ns: int) -> None:
        """End the session that `process` led: its monitor often is not in it by any record."""
        self._addresses.pop(("pid", process.pid), None)
        session = self._led.pop(process.pid, None)
        if session is not None:
            self._end(session, process, boot_ns)

    def closed(self, session_id: int, pid: int, boot_ns: int) -> None:
        """End a session that `pid` said to be over: nothing of it, unless it opened the session."""
        session = self.sessions.get(session_id)
        if session is not None and session.leader_pid == pid:
            self._led.pop(pid, None)
            self._end(session, self._processes.who(pid), boot_ns)

    def _end(self, session: Session, leader: Process | None, boot_ns: int) -> None:
        if session.over:
            return
        session.over, session.over_ns = True, boot_ns
        if session.announced:
            self._told.append((boot_ns, leader, session, True))

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
