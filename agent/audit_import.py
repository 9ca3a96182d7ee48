"""An audit log becomes events, with the time they bear, of those who did them.

What a record says of the kernel's or of user space's doings is read where the live agent reads it
(`audit_events`); here is what only logs need. Nothing of this machine is asked: no process, no
account, no clock. The same log gives the same batches, so an import that was killed can go on.
"""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from agent.audit_events import TARGET, TOLD, Targets, events_of, targets_of
from agent.auditd_log import Run
from agent.logged_facts import LOGGED, logged_fact_of
from agent.logged_names import LoggedNames
from agent.logged_processes import LoggedProcesses
from agent.sensors.audit_assembly import WAIT_NS, Assembler, KernelEvent
from agent.sensors.audit_calls import Call, call_of
from agent.sensors.audit_fields import read
from agent.sensors.audit_files import files_of
from agent.sensors.audit_sockets import connection_of
from agent.sensors.records import AuditRecord
from agent.stages.bounds import pieces
from agent.stages.fold import FileChanges, Made
from agent.stages.identify import Identifier
from agent.stages.seal import Collector, Part
from agent.stages.session_events import told_login_change, told_session
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_ROUND: Final = 512
"""Events handled together: what sudo was asked for and whose rights it gave are several."""
_ROUND_RECORDS: Final = 8192
_TELLS: Final = frozenset(("EXECVE", "PATH", "SOCKADDR"))
"""Types of records that say what a system call did."""
_SUDO = re.compile(rb"/sudo|2F7375646F")
_SUCCESS: Final = b" success=yes "
_SUCCESS_WITHIN: Final = 80
_OPENS: Final = frozenset(("LOGIN", "USER_START", "USER_LOGIN"))
_CLOSES: Final = frozenset(("USER_END", "USER_LOGOUT", "CRED_DISP"))
_SAID_HERE: Final = TOLD | _OPENS
_SPEAKS: Final = TOLD | LOGGED | _OPENS | _CLOSES
MOST_KINDS_SHOWN: Final = 20
_EVER: Final = 1 << 62
_KNOWN = events.ATTRIBUTION_EXACT


class AuditImport:
    """Makes batches of the records of one host's log."""

    def __init__(self, seed: uuid.UUID) -> None:
        """Name boots by `seed`: the same for the same log."""
        self._seed = seed
        self._assembler = Assembler()
        self._collector = Collector()
        self._files = FileChanges()
        self._names = LoggedNames()
        self._ready: list[Part] = []
        self._now = 0
        self.used = 0
        """Records that are in events."""
        self.unused: Counter[str] = Counter()
        """Records of which we have no event, by type."""
        self.lost = 0
        """Events of the kernel that no record bears."""
        self.events = 0
        self._hostname: Callable[[], str] = lambda: ""
        self._named = False
        self._begin_boot(0)

    def _begin_boot(self, boot: int) -> None:
        self._boot, self._boot_id = boot, str(uuid.uuid5(self._seed, str(boot)))
        self._identifier = Identifier(self._boot_id, self._names)
        self._processes = LoggedProcesses(self._identifier)

    def parts(
        self, runs: Iterable[Run], hostname: Callable[[], str] = lambda: ""
    ) -> Iterator[Part]:
        """Yield batches; `used` and the other counts are right at the end.

        `hostname` says what the records read so far call their host; "": nothing.
        """
        self._hostname = hostname
        held = records = 0
        hold = self._assembler.hold
        for wall_ns, serial, kinds, texts in runs:
            held += 1
            records += len(kinds)
            hold(wall_ns, serial, kinds, texts)
            if held >= _ROUND or records >= _ROUND_RECORDS:
                held = records = 0
                self._round(self._assembler.passed(wall_ns))
                yield from self._take_ready()
        self._round(self._assembler.finish())
        self._end_boot()
        yield from self._take_ready()

    def _take_ready(self) -> list[Part]:
        ready, self._ready = self._ready, []
        return ready

    def summary(self, read: int, rejected: int) -> str:
        """Return what became of `read` records, of which `rejected` were none, for people."""
        unused = sorted(self.unused.items(), key=lambda each: (-each[1], each[0]))
        kinds = ", ".join(f"{kind} {count}" for kind, count in unused[:MOST_KINDS_SHOWN])
        if len(unused) > MOST_KINDS_SHOWN:
            kinds += f", {len(unused) - MOST_KINDS_SHOWN} further types"
        without = sum(self.unused.values())
        return (
            f"{read} records read: {self.used} in events, {without} without an event of ours, "
            f"{rejected} rejected; {self.lost} events are missing by their serials"
            + (f"\nwithout an event of ours: {kinds}" if kinds else "")
        )

    def _round(self, whole: list[KernelEvent]) -> None:
        # Of user space each record is an event.
        self._name_host(whole)
        targets = targets_of(
            event.record(0)
            for event in whole
            if event.kinds[0] in TARGET and _SUDO.search(event.texts[0])
        )
        spare: list[str] = []
        for event in whole:
            if event.boot != self._boot:
                self._end_boot()
                self._begin_boot(event.boot)
            self._now = now = event.wall_ns
            kinds = event.kinds
            made = None
            # Of a call, the further records say what it did.
            if len(kinds) > 1 or kinds[0] in _SPEAKS:
                self._identifier.begin_tick(0, now)
                made = self._told(event, targets)
            if made is None:
                spare += kinds
                continue
            self.used += len(kinds)
            for each in made:
                self._add(each)
            if self._identifier.book.has_news:
                for session in self._sessions(now):
                    self._add(session)
        self.unused.update(spare)
        for each in [*self._files.due(self._now), *self._gap(self._now - WAIT_NS)]:
            self._add(each)
        self._identifier.forget(self._now)

    def _name_host(self, whole: list[KernelEvent]) -> None:
        """Tell once what the records call their host."""
        if whole and not self._named and (name := self._hostname()):
            self._named = True
            event = self._event(whole[0].wall_ns)
            event.host_facts.hostname = name
            self._add(Made(None, event))

    def _told(self, event: KernelEvent, targets: Targets) -> list[Made] | None:
        """Return what an event tells; None when that is nothing that we have a word for."""
        kinds = event.kinds
        made: list[Made] = []
        told = False
        if "SYSCALL" in kinds and not _TELLS.isdisjoint(kinds):
            text = event.texts[kinds.index("SYSCALL")]
            if _may_tell(kinds, text) and (call := call_of(event)) is not None:
                self._names.learn(text)
                told = self._called(event, call, made)
        if not _SPEAKS.isdisjoint(kinds):
            for place, kind in enumerate(kinds):
                if kind in _SPEAKS:
                    told = self._spoken(event, place, targets, made) or told
        return made if made or told else None

    def _called(self, event: KernelEvent, call: Call, made: list[Made]) -> bool:
        """Tell what a system call did; whether it did something."""
        if "EXECVE" in event.kinds:
            return self._executed(event, call, made)
        connection = connection_of(event, call)
        if connection is not None:
            told = self._event(event.wall_ns)
            told.connect.remote_address = connection.remote_address
            told.connect.remote_port = connection.remote_port
            process = self._processes.caller(call, event.wall_ns)
            made.append(Made(self._identifier.images.refresh(process, event.wall_ns), told))
            return True
        changes = list(files_of(event, call))
        if not changes:
            return False
        process = self._processes.caller(call, event.wall_ns)
        ran = self._identifier.images.refresh(process, event.wall_ns)
        for change in changes:
            full = self._files.add(change, ran, event.wall_ns, attribution=_KNOWN, urgent=False)
            if full is not None:
                made.append(full)
        return True

    def _executed(self, event: KernelEvent, call: Call, made: list[Made]) -> bool:
        before = self._identifier.processes.get(call.pid)
        ran = before.known_ran if before is not None else None
        executed = self._processes.executed(event, call)
        if executed is None:
            return False
        process, program = executed
        if ran is not None and len(self._files):
            made += self._files.ended(ran.image.exec_id)
        told = self._event(event.wall_ns)
        told.exec.requested_path = program.requested_path
        made.append(Made(process.ran, told, kind="exec"))
        return True

    def _spoken(self, event: KernelEvent, place: int, targets: Targets, made: list[Made]) -> bool:
        """Tell what a record of its own says; whether it is something."""
        record = event.record(place)
        call = event.text("SYSCALL")
        if call is not None:
            # Who did it stands there: most of the kernel's records do not say it.
            record = AuditRecord(
                record.kind,
                record.wall_ns,
                record.serial,
                b"",
                {**read("SYSCALL", call), **record.fields},
            )
        else:
            self._names.learn(record.text)
        began = self._known_logins()
        process = self._processes.speaker(
            record.fields, record.wall_ns, opens=record.kind in _OPENS
        )
        ended = (
            process is not None
            and record.kind in _CLOSES
            and self._processes.closes(record.fields, process, record.wall_ns)
        )
        if record.kind in _SAID_HERE:
            made += events_of(record, self._identifier, record.wall_ns, targets)
        fact = logged_fact_of(record) if record.kind in LOGGED else None
        if fact is not None:
            fact.attribution = _KNOWN if process is not None else events.ATTRIBUTION_UNKNOWN
            ran = (
                self._identifier.images.refresh(process, record.wall_ns)
                if process is not None
                else None
            )
            made.append(Made(ran, fact))
        return ended or self._known_logins() > began

    def _known_logins(self) -> int:
        book = self._identifier.book
        return len(book.sessions) + len(book.login_changes)

    def _sessions(self, now: int) -> Iterator[Made]:
        for news in self._identifier.book.news(now):
            yield told_session(news, self._names, 0)
        for change in self._identifier.book.take_login_changes():
            ran = self._identifier.images.refresh(change.process, change.boot_ns)
            yield told_login_change(change, ran, 0)

    def _gap(self, before_ns: int = _EVER) -> Iterator[Made]:
        holes = self._assembler.lost(before_ns)
        if holes:
            missing = sum(hole.serials for hole in holes)
            self.lost += missing
            event = events.Event(
                event_time=clock.to_timestamp(holes[0].since_ns),
                gap=events.Gap(
                    start_time=clock.to_timestamp(holes[0].since_ns),
                    end_time=clock.to_timestamp(holes[-1].until_ns),
                    precision=events.Gap.PRECISION_EXACT,
                    lost=missing,
                    source="audit",
                    detail="Serials of the log that no record bears: lost, or left out of it.",
                ),
            )
            yield Made(None, event)

    def _end_boot(self) -> None:
        for each in (*self._files.all(), *self._sessions(_EVER), *self._gap()):
            self._add(each)
        self._sealable()

    def _add(self, made: Made) -> None:
        some, left_out = pieces(made.event, self._collector.bounds)
        if left_out:
            some.append(self._bound_gap(made.event, left_out))
        for event in some:
            self.events += 1
            one = made if event is made.event else Made(made.ran, event, made.urgent)
            if self._collector.add(one, self._now):
                self._sealable()

    @staticmethod
    def _bound_gap(event: events.Event, left_out: int) -> events.Event:
        return events.Event(
            event_time=event.event_time,
            gap=events.Gap(
                cause=events.Gap.CAUSE_EVENT_BOUND,
                start_time=event.event_time,
                end_time=event.event_time,
                precision=events.Gap.PRECISION_EXACT,
                lost=left_out,
                source="audit",
                detail="Facts were left out of an event that would have exceeded its bound.",
            ),
        )

    def _sealable(self) -> None:
        if len(self._collector):
            self._ready.append(Part(self._collector.take(), self._boot_id, 0))

    @staticmethod
    def _event(wall_ns: int) -> events.Event:
        event = events.Event()
        event.attribution = _KNOWN
        event.event_time.seconds, event.event_time.nanos = divmod(wall_ns, clock.NS)
        return event


def _may_tell(kinds: list[str], call: bytes) -> bool:
    """Whether a call may have done something; most that fail need not be read."""
    return (
        _SUCCESS in call[:_SUCCESS_WITHIN]
        or "SOCKADDR" in kinds  # a connection in progress is called a failure
        or not call.startswith(b"arch=")
    )
