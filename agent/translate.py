"""Records of the sensors become events of somebody."""

import os
from collections import deque
from collections.abc import Iterable

from agent import audit_events
from agent.accounts import Accounts
from agent.doings import Doings
from agent.file_facts import FileFacts
from agent.inferences import Inferences
from agent.lines import Ran
from agent.losses import told_loss
from agent.names import UserNames
from agent.output import Output
from agent.packages import Packages
from agent.sensors.records import (
    UNKNOWN_STATUS,
    AuditRecord,
    FileRecord,
    KernelRecord,
    ProcessRecord,
    Record,
    SocketRecord,
)
from agent.sensors.watchlist import WatchList
from agent.session_news import SessionNews
from agent.sorted_records import SortedRecords
from agent.stages import guess
from agent.stages.fold import FileChanges, Made
from agent.stages.identify import Identifier
from agent.stages.urgency import is_urgent
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

MOST_WAITING = 20_000
"""File changes that wait for a guess at who made them."""
MERGE_LOOK_NS = 100_000_000


class Translator:
    """Turns records into events, with the help of who is known."""

    def __init__(
        self, identifier: Identifier, names: UserNames, watch_list: WatchList, output: Output
    ) -> None:
        """Add events to `output`."""
        self._identifier, self._output = identifier, output
        self._sessions = SessionNews(identifier, names, output)
        self.watch_list = watch_list
        self._files = FileChanges()
        self._accounts = Accounts()
        self._packages = Packages()
        self._inferences = Inferences(identifier.processes)
        self._facts = FileFacts(identifier, output)
        self.audited = False
        """Whether audit records come: what they tell need not be concluded."""
        self.doings = Doings(
            identifier, output, self._seen_to_change, self._exited, self._facts.mounted
        )
        self._waiting: deque[FileRecord] = deque()
        self._own_pid = os.getpid()
        self._merged_ns = 0
        """Time of the change before which collections were looked through."""

    def advance(self, now: int) -> None:
        """Close what was collected for long enough."""
        self._facts.advance(now)
        self.doings.advance(now)
        while self._waiting and self._waiting[0].boot_ns <= now - guess.WAIT_NS:
            self._guessed(self._waiting.popleft(), now)
        for made in self._files.due(now):
            self._changed(made, now)
        for made in self._packages.due(now):
            self._output.add(made, now)

    def finish(self, now: int) -> None:
        """Close everything."""
        self._facts.finish(now)
        while self._waiting:
            self._guessed(self._waiting.popleft(), now)
        for made in self._files.all():
            self._changed(made, now)
        for made in self._packages.all():
            self._output.add(made, now)
        self.doings.finish(now)

    def handle(self, records: Iterable[Record], now: int) -> None:
        """Turn the records of one tick into events: who comes before what they did."""
        sorted_records = SortedRecords(records)
        if sorted_records.before:
            self._identifier.snapshot(sorted_records.before)
        changers = frozenset(each.pid for each in sorted_records.files)
        self._identifier.changers = changers | {each.pid for each in sorted_records.reads}
        for file in sorted_records.files:
            self._identifier.requests.claims(file.pid, file.path)
        self._sessions.hear(sorted_records.audit)
        closed, exits = self._processes(sorted_records.processes, now)
        self._sessions.tell(now)
        for file in sorted_records.files:
            self._file(file, now)
        self._facts.handle(sorted_records, closed, now)
        if len(self._files):
            for made in [each for exec_id in closed for each in self._files.ended(exec_id)]:
                self._changed(made, now)
        for socket in sorted_records.sockets:
            self.doings.handle(socket, now)
        for ended, ran in exits:
            self._exited(ended, ran, now)
        self._audit(sorted_records.audit, now)
        for loss in sorted_records.losses:
            told_loss(loss, self._output)
        self._sessions.tell(now)

    def _processes(
        self, records: list[ProcessRecord | KernelRecord | SocketRecord], now: int
    ) -> tuple[list[str], list[tuple[ProcessRecord, Ran]]]:
        """Follow processes and what they do, and sessions as of each moment.

        Returns:
            images that are over, and ends to be told of.
        """
        closed: list[str] = []
        exits: list[tuple[ProcessRecord, Ran]] = []
        for record in records:
            self._sessions.go_on_until(record)
            if not isinstance(record, ProcessRecord):
                self.doings.handle(record, now)
            elif record.kind == "fork":
                self.doings.forked(record, now)
                self._identifier.fork(record)
            elif record.kind == "exec":
                self._executed(record, now, closed)
            else:
                self._ended(record, closed, exits, now)
        self._sessions.go_on()
        return closed, exits

    def _executed(self, record: ProcessRecord, now: int, closed: list[str]) -> None:
        known = self._identifier.processes.get(record.pid)
        program = known.executable if known is not None else b""
        if known is not None and known.known_ran is not None:
            closed.append(known.known_ran.image.exec_id)
        forked = known is not None and not (known.executed or known.fork_told)
        process = self._identifier.exec(record)
        if forked and record.pid in self._identifier.changers:
            # What it did before it executed may be one of the changes that come next.
            self.doings.tell_fork(process.history[0][1], now)
        if process.session is not None:
            self._sessions.look_for_address(process, process.session, record.boot_ns)
        if process.untold:
            self.doings.tell_forks(process, now)
        ran = process.ran
        event = self._event(record.boot_ns, exact=record.exact)
        event.exec.requested_path = record.requested_path
        urgent = is_urgent(ran.image.provenance, process.program)
        self._output.add(Made(ran, event, urgent, "exec"), now)
        self.doings.executed(process, record, program, now)
        if not self.audited and (use := self._inferences.of_exec(process, event.event_time)):
            self._output.add(use, now)

    def _ended(
        self,
        record: ProcessRecord,
        closed: list[str],
        exits: list[tuple[ProcessRecord, Ran]],
        now: int,
    ) -> None:
        gone = self._identifier.exit(record)
        if gone is None:
            return
        told = self.doings.ended(gone, record, now)
        if gone.known_ran is not None:
            closed.append(gone.known_ran.image.exec_id)
            if told:
                exits.append((record, gone.known_ran))

    def _exited(self, record: ProcessRecord, ran: Ran, now: int) -> None:
        event, status = self._event(record.boot_ns, exact=record.exact), record.exit_status
        if status == UNKNOWN_STATUS:
            event.exit.SetInParent()
        elif status & 0x7F:
            event.exit.signal = status & 0x7F
        else:
            event.exit.code = status >> 8 & 0xFF
        event.exit.lifetime_ms = (record.boot_ns - record.start_ns) // 1_000_000
        self._output.add(Made(ran, event, urgent=False, kind="exit"), now)
        for made in self._inferences.of_exit(record, ran, event.event_time):
            self._output.add(made, now)

    def _file(self, record: FileRecord, now: int) -> None:
        if not record.pid:
            if len(self._waiting) >= MOST_WAITING:
                self._guessed(self._waiting.popleft(), now)  # early, rather than not at all
            self._waiting.append(record)
            return
        if self.doings.is_told(record):
            return
        process = self._identifier.processes.who(record.pid)
        if process is None:
            self._collect(record, None, events.ATTRIBUTION_UNKNOWN, (), now)
            return
        identifier = self._identifier
        several = identifier.who_changed(process, record.boot_ns)
        since = identifier.since(record.boot_ns)
        if process.ended_ns and process.ended_ns < record.boot_ns:
            # It bears the time at which it was read: what a process did, it did before its end.
            record = record._replace(boot_ns=process.ended_ns)
        sure = record.exact and len(several) == 1
        self._collect(
            record,
            self.doings.named(process, now, min(since, record.boot_ns), several[0]),
            events.ATTRIBUTION_EXACT if sure else events.ATTRIBUTION_INFERRED,
            tuple(each.image.exec_id for each in several) if len(several) > 1 else (),
            now,
        )

    def _seen_to_change(self, record: FileRecord, ran: Ran | None, now: int) -> None:
        """Collect a change of which the kernel told who made it, while it was made."""
        exact = events.ATTRIBUTION_EXACT if ran is not None else events.ATTRIBUTION_UNKNOWN
        self._collect(record, ran, exact, (), now)

    def _guessed(self, record: FileRecord, now: int) -> None:
        """Collect a change whose source does not say who made it."""
        found = guess.candidates(self._identifier.processes, record, self._own_pid)
        self._collect(
            record,
            found[0] if found else None,
            events.ATTRIBUTION_INFERRED if found else events.ATTRIBUTION_UNKNOWN,
            tuple(each.image.exec_id for each in found),
            now,
        )

    def _collect(
        self,
        record: FileRecord,
        ran: Ran | None,
        attribution: "events.Attribution.ValueType",
        candidates: tuple[str, ...],
        now: int,
    ) -> None:
        if ran is not None:
            self._identifier.requests.wrote(record.path, ran.image)
        entry = self.watch_list.entry_for(record.path)
        if entry is None and record.previous_path:
            entry = self.watch_list.entry_for(record.previous_path)
        if record.boot_ns - self._merged_ns >= MERGE_LOOK_NS:
            # However late they are read: what lies a second apart is not one event.
            self._merged_ns = record.boot_ns
            for due in self._files.due(record.boot_ns):
                self._changed(due, now)
        made = self._files.add(
            record,
            ran,
            record.boot_ns + self._output.offset_ns,
            attribution=attribution,
            candidates=candidates,
            urgent=record.gives_rights or (entry is not None and entry.urgent),
            entry=entry.name if entry is not None else "",
        )
        if made is not None:
            self._changed(made, now)

    def _changed(self, made: Made, now: int) -> None:
        """Add collected file changes, and what they did to accounts and packages."""
        self._output.add(made, now)
        if any(c.path == self._packages.watched for c in made.event.file_change.changes):
            self._packages.touched(made, now)
        if any(c.path in self._accounts.watched for c in made.event.file_change.changes):
            # Whoever else writes to these files just now may have made the change as well.
            alone = not self._files.touch(self._accounts.watched)
            for change in self._accounts.changes():
                event = events.Event(
                    event_time=made.event.event_time,
                    attribution=made.event.attribution if alone else events.ATTRIBUTION_INFERRED,
                    account_change=change,
                )
                self._output.add(Made(made.ran, event, urgent=True), now)

    def _audit(self, records: list[AuditRecord], now: int) -> None:
        targets = audit_events.targets_of(records)
        for record in records:
            if record.kind == "BPF" and record.fields.get("pid") == b"%d" % self._own_pid:
                continue  # our own programs are no news
            if self.doings.replaces(record.kind) and record.fields.get("op") != b"UNLOAD":
                continue
            self._inferences.noted(record)
            for made in audit_events.events_of(record, self._identifier, now, targets):
                self._output.add(made, now)

    def _event(self, boot_ns: int, *, exact: bool) -> events.Event:
        event = events.Event()
        event.attribution = events.ATTRIBUTION_EXACT if exact else events.ATTRIBUTION_INFERRED
        time = event.event_time
        time.seconds, time.nanos = divmod(boot_ns + self._output.offset_ns, clock.NS)
        return event
