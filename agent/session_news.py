"""Sessions as they begin, become better known and end: each record at its own time."""

from collections import deque
from collections.abc import Iterable

from agent import audit_events
from agent.names import Names
from agent.output import Output
from agent.processes import Process
from agent.sensors.records import AuditRecord, KernelRecord, ProcessRecord, SocketRecord
from agent.stages.environ import ssh_client_of
from agent.stages.identify import Identifier
from agent.stages.session_events import told_login_change, told_session
from agent.stages.sessions import PERSON, UNKNOWN, Session, kind_of_opener

MOST_ADDRESS_LOOKS = 3
FIRST_NS = 4_000_000
"""Of records that bear the same time, as coarse as audit's are, a session's are the earlier."""


class SessionNews:
    """Follows audit's records of sessions among those of processes; tells what is new."""

    def __init__(self, identifier: Identifier, names: Names, output: Output) -> None:
        """Make what is heard known to `identifier`, and add events to `output`."""
        self._identifier, self._names, self._output = identifier, names, output
        self._waiting: deque[tuple[int, AuditRecord]] = deque()

    def hear(self, records: Iterable[AuditRecord]) -> None:
        """Take the records of a tick that tell of sessions."""
        kinds, offset_ns = audit_events.SESSIONS, self._output.offset_ns
        found = [(each.wall_ns - offset_ns, each) for each in records if each.kind in kinds]
        found.sort(key=lambda each: each[0])
        self._waiting.extend(found)

    def go_on_until(self, record: ProcessRecord | KernelRecord | SocketRecord) -> None:
        """Follow what happened before `record`.

        Who opens sessions (login) may have been executed within the very time that a record of
        its session bears: then it was executed first.
        """
        opens = isinstance(record, ProcessRecord) and record.kind == "exec"
        first = opens and kind_of_opener(record.executable) != UNKNOWN  # type: ignore[union-attr]
        until_ns = record.boot_ns + (-FIRST_NS if first else FIRST_NS)
        while self._waiting and self._waiting[0][0] <= until_ns:
            at_ns, told = self._waiting.popleft()
            audit_events.note_session(told, self._identifier, at_ns)

    def go_on(self) -> None:
        """Follow the rest."""
        while self._waiting:
            at_ns, record = self._waiting.popleft()
            audit_events.note_session(record, self._identifier, at_ns)

    def look_for_address(self, process: Process, session: Session, boot_ns: int) -> None:
        """Read from a session's first programs where it came from: sshd tells them."""
        if (
            session.kind != PERSON
            or session.source_address
            or session.address_looks >= MOST_ADDRESS_LOOKS
        ):
            return
        session.address_looks += 1
        if address := ssh_client_of(process.pid):
            self._identifier.book.address_known(session.session_id, address, boot_ns)
            self._identifier.images.refresh(process, boot_ns)

    def tell(self, now: int) -> None:
        """Tell what is new, at `now` (boot clock)."""
        offset_ns = self._output.offset_ns
        for news in self._identifier.book.news(now):
            self._output.add(told_session(news, self._names, offset_ns), now)
        for change in self._identifier.book.take_login_changes():
            ran = self._identifier.images.refresh(change.process, change.boot_ns)
            self._output.add(told_login_change(change, ran, offset_ns), now)
