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
from agent.import_summary import Shares, summary_of
from agent.logged_accounts import complete
from agent.logged_calls import LoggedCalls
from agent.logged_facts import LOGGED, logged_fact_of
from agent.logged_gaps import SAYS, LoggedGaps
from agent.logged_names import LoggedNames
from agent.logged_processes import LoggedProcesses
from agent.logged_sessions import opens
from agent.sensors.audit_assembly import WAIT_NS, Assembler, KernelEvent
from agent.sensors.audit_fields import read
from agent.sensors.records import AuditRecord
from agent.stages.bounds import pieces
from agent.stages.fold import Made
from agent.stages.identify import Identifier
from agent.stages.seal import Collector, Part
from agent.stages.session_events import told_login_change, told_session
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_ROUND: Final = 512
"""Events handled together: what sudo was asked for and whose rights it gave are several."""
_ROUND_RECORDS: Final = 8192
_SUDO = re.compile(rb"/sudo|2F7375646F")
_OPENS: Final = frozenset(("LOGIN", "USER_START", "USER_LOGIN"))
_CLOSES: Final = frozenset(("USER_END", "USER_LOGOUT", "CRED_DISP"))
_SAID_HERE: Final = TOLD | _OPENS
_SPEAKS: Final = TOLD | LOGGED | _OPENS | _CLOSES
_EVER: Final = 1 << 62
_KNOWN = events.ATTRIBUTION_EXACT


class AuditImport:
    """Makes batches of the records of one host's log."""

    def __init__(self, seed: uuid.UUID) -> None:
        """Name boots by `seed`: the same for the same log."""
        self._seed = seed
        self._assembler = Assembler()
        self._collector = Collector()
        self._gaps = LoggedGaps()
        self._names = LoggedNames()
        self._ready: list[Part] = []
        self._now = 0
        self.used = 0
        """Records that are in events, or that say more about who is in one."""
        self.unused: Counter[str] = Counter()
        """Records of which we have no event, by type."""
        self.shares = Shares()
        self._hostname: Callable[[], str] = lambda: ""
        self._named = False
        self._begin_boot(0)

    def _begin_boot(self, boot: int) -> None:
        self._boot, self._boot_id = boot, str(uuid.uuid5(self._seed, str(boot)))
        self._identifier = Identifier(self._boot_id, self._names)
        self._processes = LoggedProcesses(self._identifier, self._names)
        self._calls = LoggedCalls(self._identifier, self._processes, self._names)

    @property
    def lost(self) -> int:
        """Events of the kernel that no record bears."""
        return self._gaps.lost

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
        return summary_of(read, self.used, rejected, self.unused, self.lost, self.shares)

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
            before, now = self._now, event.wall_ns
            self._now = now
            kinds = event.kinds
            made = None
            if kinds[0] in SAYS and self._gaps.note(kinds[0], event.texts[0], now, before):
                self.used += len(kinds)
                continue
            # Of most calls, the further records say what it did.
            if len(kinds) > 1 or kinds[0] in _SPEAKS or kinds[0] == "SYSCALL":
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
        holes = self._assembler.lost(self._now - WAIT_NS)
        for each in [*self._calls.due(self._now), *self._gaps.made(holes, self._now)]:
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
        if "SYSCALL" in kinds:
            told = self._calls.told(event, made)
        if not _SPEAKS.isdisjoint(kinds):
            for place, kind in enumerate(kinds):
                if kind in _SPEAKS:
                    told = self._spoken(event, place, targets, made) or told
        return made if made or told else None

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
        self._names.learn(record.text if call is None else call)
        may_open = record.kind in _OPENS
        if may_open and opens(record.kind, record.fields):
            self._names.logged_in(record.fields)
        began = self._known_logins()
        process = self._processes.speaker(
            record.kind, record.fields, record.wall_ns, may_open=may_open
        )
        ended = (
            process is not None
            and record.kind in _CLOSES
            and self._processes.sessions.closes(record.fields, process, record.wall_ns)
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
            if ran is not None and fact.HasField("account_change"):
                complete(fact.account_change, ran.image.arguments)
            made.append(Made(ran, fact))
        return ended or self._known_logins() > began

    def _known_logins(self) -> int:
        book = self._identifier.book
        return len(book.sessions) + len(book.login_changes)

    def _sessions(self, now: int) -> Iterator[Made]:
        for news in self._identifier.book.news(now):
            self.shares.session(self._boot, news[2])
            yield told_session(news, self._names, 0)
        for change in self._identifier.book.take_login_changes():
            ran = self._identifier.images.refresh(change.process, change.boot_ns)
            yield told_login_change(change, ran, 0)

    def _end_boot(self) -> None:
        made = [*self._calls.all(), *self._sessions(_EVER)]
        made += self._gaps.made(self._assembler.lost(), self._now, last=True)
        for each in made:
            self._add(each)
        self._sealable()

    def _add(self, made: Made) -> None:
        some, left_out = pieces(made.event, self._collector.bounds)
        if left_out:
            some.append(self._bound_gap(made.event, left_out))
        for event in some:
            one = made if event is made.event else Made(made.ran, event, made.urgent)
            self.shares.add(one)
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
            self.shares.boot(self._boot)
            self._ready.append(Part(self._collector.take(), self._boot_id, 0))

    @staticmethod
    def _event(wall_ns: int) -> events.Event:
        event = events.Event()
        event.attribution = _KNOWN
        event.event_time.seconds, event.event_time.nanos = divmod(wall_ns, clock.NS)
        return event
