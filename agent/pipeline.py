"""The agent's loop: sense, identify, fold, seal, spool, twenty times a second."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from agent import audit_events
from agent.accounts import Accounts
from agent.names import UserNames
from agent.processes import Process
from agent.sensors import OpenSensors
from agent.sensors.records import (
    AuditRecord,
    FileRecord,
    LossRecord,
    ProcessRecord,
    Record,
    SocketRecord,
)
from agent.sensors.watchlist import WatchList
from agent.spool import Evicted, Spool
from agent.stages import guess
from agent.stages.environ import ssh_client_of
from agent.stages.fold import FileChanges, Made
from agent.stages.identify import Identifier
from agent.stages.seal import Collector, Link, Sealer
from agent.stages.sessions import PERSON
from agent.stages.urgency import is_urgent
from chassis import clock
from chassis.counters import Counter, Gauge
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

log = structlog.get_logger()
events_total = Counter("nightherd_agent_events", "Events that were sealed")
lost_total = Counter("nightherd_agent_lost", "Events known to be lost")
processes_gauge = Gauge("nightherd_agent_processes", "Processes that are known to live")
spool_gauge = Gauge("nightherd_agent_spool_bytes", "Bytes in the spool")

TICK_S = 0.05
STALL_NS = 2_000_000_000
MOST_UNWRITTEN = 32
"""Batches kept in memory while the disk takes none."""
MOST_WAITING = 20_000
"""File changes that wait for a guess at who made them."""
MOST_ADDRESS_LOOKS = 3
_Gap = events.Gap
_PROTOCOLS = {"tcp": events.PROTOCOL_TCP, "udp": events.PROTOCOL_UDP}


class _Sorted:
    """The records of one tick, by what they are: who comes before what they did."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.before: list[ProcessRecord] = []
        self.processes: list[ProcessRecord] = []
        self.files: list[FileRecord] = []
        self.sockets: list[SocketRecord] = []
        self.audit: list[AuditRecord] = []
        self.losses: list[LossRecord] = []
        for record in records:
            if isinstance(record, ProcessRecord):
                (self.before if record.kind == "snapshot" else self.processes).append(record)
            elif isinstance(record, FileRecord):
                self.files.append(record)
            elif isinstance(record, SocketRecord):
                self.sockets.append(record)
            elif isinstance(record, AuditRecord):
                self.audit.append(record)
            else:
                self.losses.append(record)


class Witness(Protocol):
    """Somebody who wants to know what passes by (the self-test)."""

    def saw(self, made: Made) -> None:
        """Look at one event."""


class Pipeline:
    """From sensors to the spool."""

    def __init__(
        self,
        sensors: OpenSensors,
        watch_list: WatchList,
        spool: Spool,
        sealer: Sealer,
        wake: Callable[[], None],
    ) -> None:
        """Work with sensors that are open; `wake` is called when the spool has more."""
        self.sensors, self.watch_list = sensors, watch_list
        self._spool, self._sealer, self._wake = spool, sealer, wake
        self._names = UserNames()
        self.identifier = Identifier(clock.boot_id(), self._names)
        self._files = FileChanges()
        self._collector = Collector()
        self._accounts = Accounts()
        self._waiting: deque[FileRecord] = deque(maxlen=MOST_WAITING)
        self._unwritten: list[tuple[delivery.SealedBatch, Link]] = []
        self._own_pid = os.getpid()
        self._last_tick_ns = clock.boot_ns()
        self._offset_ns = clock.wall_minus_boot_ns()
        self.witness: Witness | None = None
        self.event_count = 0
        self.lost_count = 0

    async def run(self) -> None:
        """Tick until cancelled, then seal what is there."""
        try:
            while True:
                self.tick()
                await asyncio.sleep(TICK_S)
        finally:
            self.finish()

    def tick(self) -> None:
        """One round."""
        now = clock.boot_ns()
        self._offset_ns = clock.wall_minus_boot_ns()
        self._names.refresh()
        self.identifier.begin_tick(self._offset_ns, now)
        if now - self._last_tick_ns > STALL_NS:
            self._stalled(self._last_tick_ns, now)
        self._last_tick_ns = now
        self._handle(self._drain(now), now)
        while self._waiting and self._waiting[0].boot_ns <= now - guess.WAIT_NS:
            self._guessed(self._waiting.popleft(), now)
        for made in self._files.due(now):
            self._changed(made, now)
        self.identifier.forget(now)
        if self._collector.due(now):
            self._seal()
        elif self._unwritten:
            self._write()
        processes_gauge.set(len(self.identifier.processes))

    def _drain(self, now: int) -> list[Record]:
        records: list[Record] = []
        for sensor in tuple(self.sensors.sensors):
            try:
                records += sensor.drain()
            except OSError as error:
                self.sensors.sensors.remove(sensor)
                sensor.close()
                self.sensors.not_seen.append(f"The source {sensor.name} failed: {error}.")
                log.error("source failed", source=sensor.name, why=str(error))  # noqa: TRY400
                detail = "The source failed and was closed."
                records.append(LossRecord(sensor.name, now, now, None, detail))
        return records

    def finish(self) -> None:
        """Seal everything that is collected."""
        now = clock.boot_ns()
        while self._waiting:
            self._guessed(self._waiting.popleft(), now)
        for made in self._files.all():
            self._changed(made, now)
        if len(self._collector):
            self._seal()

    def tell(self, *kinds: events.Event, urgent: bool = True) -> None:
        """Add events of the agent's own: facts, status, gaps."""
        now = clock.boot_ns()
        for event in kinds:
            if not event.HasField("event_time"):
                event.event_time.CopyFrom(clock.to_timestamp(now + self._offset_ns))
            self._add(Made(None, event, urgent), now)

    # -- records ---------------------------------------------------------------------------------

    def _handle(self, records: Iterable[Record], now: int) -> None:
        sorted_records = _Sorted(records)
        if sorted_records.before:
            self.identifier.snapshot(sorted_records.before)
        closed: list[str] = []
        exits: list[tuple[ProcessRecord, events.Image]] = []
        for record in sorted_records.processes:
            self._process(record, now, closed, exits)
        self._tell_sessions(now)
        for file in sorted_records.files:
            self._file(file, now)
        for made in [each for exec_id in closed for each in self._files.ended(exec_id)]:
            self._changed(made, now)
        for socket in sorted_records.sockets:
            self._socket(socket, now)
        for ended, image in exits:
            self._exited(ended, image, now)
        for audit in sorted_records.audit:
            self._audit(audit, now)
        for loss in sorted_records.losses:
            self._lost(loss)
        self._tell_sessions(now)

    def _process(
        self,
        record: ProcessRecord,
        now: int,
        closed: list[str],
        exits: list[tuple[ProcessRecord, events.Image]],
    ) -> None:
        if record.kind == "fork":
            self.identifier.fork(record)
        elif record.kind == "exec":
            known = self.identifier.processes.get(record.pid)
            if known is not None and known.known_image is not None:
                closed.append(known.known_image.exec_id)
            process = self.identifier.exec(record)
            self._look_for_address(process, record.boot_ns)
            image = process.image
            event = self._event(record.boot_ns, exact=record.exact)
            event.exec.requested_path = record.requested_path
            self._add(Made(image, event, is_urgent(image)), now)
        elif record.kind == "exit":
            gone = self.identifier.exit(record)
            if gone is not None and gone.known_image is not None:
                closed.append(gone.known_image.exec_id)
                if gone.executed:
                    exits.append((record, gone.image))

    def _look_for_address(self, process: Process, boot_ns: int) -> None:
        """Ask a session's first programs where it came from: sshd tells them."""
        session = process.session
        if (
            session is None
            or session.kind != PERSON
            or session.source_address
            or session.address_looks >= MOST_ADDRESS_LOOKS
        ):
            return
        session.address_looks += 1
        if address := ssh_client_of(process.pid):
            self.identifier.address_known(session.session_id, address, boot_ns)
            self.identifier.refresh(process)

    def _exited(self, record: ProcessRecord, image: events.Image, now: int) -> None:
        event = self._event(record.boot_ns, exact=record.exact)
        status = record.exit_status
        event.exit.signal = status & 0x7F
        if not event.exit.signal:
            event.exit.code = status >> 8 & 0xFF
        event.exit.lifetime_ms = (record.boot_ns - record.start_ns) // 1_000_000
        self._add(Made(image, event), now)

    def _file(self, record: FileRecord, now: int) -> None:
        if not record.pid:
            self._waiting.append(record)
            return
        process = self.identifier.processes.who(record.pid)
        if process is None:
            self._collect(record, None, events.ATTRIBUTION_UNKNOWN, (), now)
            return
        several = self.identifier.images_this_tick(process)
        sure = record.exact and not several
        self._collect(
            record,
            self.identifier.refresh(process),
            events.ATTRIBUTION_EXACT if sure else events.ATTRIBUTION_INFERRED,
            tuple(each.exec_id for each in several),
            now,
        )

    def _guessed(self, record: FileRecord, now: int) -> None:
        """Collect a change whose source does not say who made it."""
        found = guess.candidates(self.identifier.processes, record, self._own_pid)
        self._collect(
            record,
            found[0] if found else None,
            events.ATTRIBUTION_INFERRED if found else events.ATTRIBUTION_UNKNOWN,
            tuple(each.exec_id for each in found),
            now,
        )

    def _collect(
        self,
        record: FileRecord,
        image: events.Image | None,
        attribution: "events.Attribution.ValueType",
        candidates: tuple[str, ...],
        now: int,
    ) -> None:
        entry = self.watch_list.entry_for(record.path)
        if entry is None and record.previous_path:
            entry = self.watch_list.entry_for(record.previous_path)
        made = self._files.add(
            record,
            image,
            record.boot_ns + self._offset_ns,
            attribution=attribution,
            candidates=candidates,
            urgent=entry is not None and entry.urgent,
        )
        if made is not None:
            self._changed(made, now)

    def _changed(self, made: Made, now: int) -> None:
        """Add collected file changes, and what they did to accounts."""
        self._add(made, now)
        if any(c.path in self._accounts.watched for c in made.event.file_change.changes):
            for change in self._accounts.changes():
                event = events.Event(
                    event_time=made.event.event_time,
                    attribution=made.event.attribution,
                    account_change=change,
                )
                self._add(Made(made.image, event, urgent=True), now)

    def _socket(self, record: SocketRecord, now: int) -> None:
        if record.pid == self._own_pid:  # shipping must not cause what it ships
            return
        process = self.identifier.processes.who(record.pid)
        event = self._event(record.boot_ns, exact=process is not None)
        if process is None:
            event.attribution = events.ATTRIBUTION_UNKNOWN
        protocol = _PROTOCOLS.get(record.protocol, events.PROTOCOL_UNSPECIFIED)
        if record.kind == "connect":
            event.connect.protocol = protocol
            event.connect.local_address = record.local_address
            event.connect.local_port = record.local_port
            event.connect.remote_address = record.remote_address
            event.connect.remote_port = record.remote_port
        else:
            event.listen.protocol = protocol
            event.listen.local_address = record.local_address
            event.listen.local_port = record.local_port
        image = self.identifier.refresh(process) if process is not None else None
        self._add(Made(image, event), now)

    def _audit(self, record: AuditRecord, now: int) -> None:
        for made in audit_events.events_of(record, self.identifier, now):
            self._add(made, now)

    def _tell_sessions(self, now: int) -> None:
        for boot_ns, process, session, ended in self.identifier.session_news(now):
            event = self._event(boot_ns, exact=True)
            if ended:
                event.session_end.session_id = session.session_id
            else:
                start = event.session_start
                start.session_id = session.session_id
                start.login_user_id = session.login_user_id
                start.login_user = self._names[session.login_user_id]
                start.terminal = session.terminal
                start.source_address = session.source_address
                start.opener = session.opener
                start.preexisting = session.preexisting
                if process is not None:
                    start.provenance = process.image.provenance
            image = process.image if process is not None else None
            self._add(Made(image, event, urgent=not session.preexisting), now)

    # -- what is missing -------------------------------------------------------------------------

    def _stalled(self, since: int, now: int) -> None:
        self.tell(
            self.gap(
                _Gap.CAUSE_AGENT_STALLED,
                since,
                now,
                source="agent",
                detail="The agent did not get to run; what the kernel kept meanwhile is complete, "
                "what it dropped is told apart.",
            )
        )

    def _lost(self, record: LossRecord) -> None:
        counted = record.lost is not None
        if counted:
            self.lost_count += record.lost or 0
            lost_total.inc(record.lost or 0)
        self.tell(
            self.gap(
                _Gap.CAUSE_KERNEL_DROP if counted else _Gap.CAUSE_OVERFLOW,
                record.since_ns,
                record.boot_ns,
                source=record.source,
                lost=record.lost,
                detail=record.detail,
            )
        )

    def gap(
        self,
        cause: "_Gap.Cause.ValueType",
        start_boot_ns: int,
        end_boot_ns: int,
        *,
        source: str,
        lost: int | None = None,
        detail: str = "",
    ) -> events.Event:
        """Return a gap from one moment of the boot clock to another."""
        exact, unknown = _Gap.PRECISION_EXACT, _Gap.PRECISION_UNKNOWN
        return events.Event(
            gap=_Gap(
                cause=cause,
                start_time=clock.to_timestamp(start_boot_ns + self._offset_ns),
                end_time=clock.to_timestamp(end_boot_ns + self._offset_ns),
                precision=unknown if lost is None else exact,
                lost=lost or 0,
                source=source,
                detail=detail,
            )
        )

    # -- sealing ---------------------------------------------------------------------------------

    def _event(self, boot_ns: int, *, exact: bool) -> events.Event:
        return events.Event(
            event_time=clock.to_timestamp(boot_ns + self._offset_ns),
            attribution=events.ATTRIBUTION_EXACT if exact else events.ATTRIBUTION_INFERRED,
        )

    def _add(self, made: Made, now: int) -> None:
        if self.witness is not None:
            self.witness.saw(made)
        self._collector.add(made, now)
        if self._collector.full:
            self._seal()

    def _seal(self) -> None:
        body = self._collector.take()
        if len(self._unwritten) >= MOST_UNWRITTEN:
            self._given_up(Evicted(0, 0, len(body.events)))
            return
        self.event_count += len(body.events)
        events_total.inc(len(body.events))
        batch = self._sealer.seal(body, self._offset_ns)
        self._unwritten.append((batch, self._sealer.link))
        self._write()

    def _write(self) -> None:
        batches = [batch for batch, _ in self._unwritten]
        try:
            evicted = self._spool.append(batches, [link for _, link in self._unwritten])
        except OSError as error:
            log.warning("spool not written; batches wait", error=str(error), batches=len(batches))
            return
        self._unwritten.clear()
        spool_gauge.set(self._spool.size_bytes)
        self._wake()
        for hole in evicted:
            self._given_up(hole)

    def _given_up(self, hole: Evicted) -> None:
        self.lost_count += hole.event_count
        lost_total.inc(hole.event_count)
        now = clock.boot_ns()
        self.tell(
            self.gap(
                _Gap.CAUSE_SPOOL_EVICTION,
                hole.first_ns - self._offset_ns if hole.first_ns else now,
                hole.last_ns - self._offset_ns if hole.last_ns else now,
                source="spool",
                lost=hole.event_count,
                detail=f"The spool is full: batches {hole.first} to {hole.last} were given up.",
            ),
            urgent=False,
        )
