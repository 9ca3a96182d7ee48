"""What comes out of the pipeline: events collected, sealed, spooled; what is lost, told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent.hashing.hashing import Hashing
from agent.spool import Evicted, Spool
from agent.stages.bounds import pieces
from agent.stages.budget import TELL_NS, Budgets
from agent.stages.fold import Made
from agent.stages.seal import Collector, Link, Sealer
from chassis import clock
from chassis.counters import Counter, Gauge
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

log = structlog.get_logger()
events_total = Counter("nightherd_agent_events", "Events that were sealed")
lost_total = Counter("nightherd_agent_lost", "Events known to be lost", ["source"])
spool_gauge = Gauge("nightherd_agent_spool_bytes", "Bytes in the spool")

MOST_UNWRITTEN = 32
"""Batches kept in memory while the disk takes none."""
UNHASHED_NS = 60_000_000_000
"""How often it is told how many files were not hashed."""
_Gap = events.Gap


@dataclass(slots=True)
class _LeftOut:
    """What is missing and was not told yet."""

    count: int = 0
    since_ns: int = 0
    until_ns: int = 0

    def add(self, count: int, since_ns: int, until_ns: int) -> None:
        """Count more."""
        self.since_ns = min(self.since_ns, since_ns) if self.count else since_ns
        self.until_ns = max(self.until_ns, until_ns)
        self.count += count

    def take(self) -> "_LeftOut":
        """Return what it is, and begin anew."""
        taken = _LeftOut(self.count, self.since_ns, self.until_ns)
        self.count = self.until_ns = 0
        return taken


class Witness(Protocol):
    """Somebody who wants to know what passes by (the self-test)."""

    def saw(self, made: Made) -> None:
        """Look at one event."""


class Output:
    """Collects events, seals them when it is time, and writes them to the spool."""

    def __init__(
        self,
        spool: Spool,
        sealer: Sealer,
        wake: Callable[[], None],
        budgets: Budgets,
    ) -> None:
        """Write to `spool` what `budgets` let pass; `wake` is called when there is more."""
        self._budgets = budgets
        self._spool, self._sealer, self._wake = spool, sealer, wake
        self._collector = Collector()
        self._unwritten: list[tuple[delivery.SealedBatch, Link]] = []
        self.offset_ns = clock.wall_minus_boot_ns()
        """Wall clock minus boot clock, as of this tick."""
        self._left_out = _LeftOut()
        """Facts that found no room in their events; boot clock."""
        self._unsealed = _LeftOut()
        """Events that were never sealed, as the disk took nothing; wall clock."""
        self.witness: Witness | None = None
        self.hashing: Hashing | None = None
        """What makes hashes of files that events name; None: nothing does."""
        self._unhashed_ns = clock.boot_ns()
        self.event_count = 0
        self.lost_count = 0

    @property
    def collected(self) -> int:
        """Events that are not sealed yet."""
        return len(self._collector)

    @property
    def unwritten(self) -> int:
        """Batches that the disk has not taken yet."""
        return len(self._unwritten)

    def limit(self, body_size_bytes: int) -> None:
        """Seal batches that a receiver of such bodies takes; 0: it did not say."""
        self._collector.limit(body_size_bytes)

    def tell(self, *kinds: events.Event, urgent: bool = True) -> None:
        """Add events of the agent's own: facts, status, gaps."""
        now = clock.boot_ns()
        for event in kinds:
            if not event.HasField("event_time"):
                event.event_time.CopyFrom(clock.to_timestamp(now + self.offset_ns))
            self.add(Made(None, event, urgent), now)

    def add(self, made: Made, now: int) -> None:
        """Add one event at `now` (boot clock)."""
        if self.witness is not None:
            self.witness.saw(made)
        if self.hashing is not None:
            self.hashing.met(made, now)
        if not made.urgent and made.image is not None and not self._budgets.take(made.image, now):
            return
        some, left_out = pieces(made.event, self._collector.bounds)
        if left_out:
            self.lost(left_out, "event")
            self._left_out.add(left_out, now, now)
        for event in some:
            one = made if event is made.event else Made(made.ran, event, made.urgent, made.kind)
            if self._collector.add(one, now):
                self._seal()

    def advance(self, now: int) -> None:
        """Seal what is due; try again to write what the disk did not take."""
        self._budgets.refill(now)
        self._tell_losses(now)
        self._tell_hashes(now)
        if self._collector.due(now):
            self._seal()
        elif self._unwritten:
            self._write()

    def finish(self) -> None:
        """Seal everything that is collected."""
        self._tell_losses(clock.boot_ns(), all_of_them=True)
        if len(self._collector):
            self._seal()
        if self.hashing is not None:
            self.hashing.close()

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
                start_time=clock.to_timestamp(start_boot_ns + self.offset_ns),
                end_time=clock.to_timestamp(end_boot_ns + self.offset_ns),
                precision=unknown if lost is None else exact,
                lost=lost or 0,
                source=source,
                detail=detail,
            )
        )

    def lost(self, count: int, source: str) -> None:
        """Count events that are known to be lost, and of which source."""
        self.lost_count += count
        lost_total.labels(source).inc(count)

    def _tell_losses(self, now: int, *, all_of_them: bool = False) -> None:
        for loss in self._budgets.losses(now, all_of_them=all_of_them):
            self.lost(loss.count, "budget")
            gap = self.gap(
                _Gap.CAUSE_THROTTLED,
                loss.since_ns,
                loss.until_ns,
                source="agent",
                lost=loss.count,
                detail=f"{loss.who} said more than its budget; urgent events passed.",
            )
            gap.gap.service = loss.service
            self.tell(gap, urgent=False)
        left_out = self._left_out
        if left_out.count and (all_of_them or now - left_out.since_ns >= TELL_NS):
            told = left_out.take()
            detail = "Facts were left out of events that would have exceeded their bound."
            cause = _Gap.CAUSE_EVENT_BOUND
            self.tell(
                self.gap(
                    cause,
                    told.since_ns,
                    told.until_ns,
                    source="agent",
                    lost=told.count,
                    detail=detail,
                ),
                urgent=False,
            )

    def _tell_hashes(self, now: int) -> None:
        if self.hashing is None:
            return
        for made in self.hashing.advance(now):
            self.add(made, now)
        if now - self._unhashed_ns >= UNHASHED_NS:
            since, self._unhashed_ns = self._unhashed_ns, now
            if count := self.hashing.take_left_out():
                self.lost(count, "hashing")
                detail = "Files that ran or changed were not hashed: too many at once."
                overflow = _Gap.CAUSE_OVERFLOW
                gap = self.gap(overflow, since, now, source="hashing", lost=count, detail=detail)
                self.tell(gap, urgent=False)

    def _seal(self) -> None:
        body = self._collector.take()
        if len(self._unwritten) >= MOST_UNWRITTEN:
            self.lost(body.event_count, "spool")
            self._unsealed.add(body.event_count, body.first_ns, body.last_ns)
            return
        self.event_count += body.event_count
        events_total.inc(body.event_count)
        batch = self._sealer.seal(body, self.offset_ns)
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
            self.lost(hole.event_count, "spool")
            self.given_up(hole, f"The spool is full: batches {hole.first} to {hole.last} went.")
        if self._unsealed.count:
            # Not before: what told of it would have been lost the same way.
            told = self._unsealed.take()
            hole = Evicted(0, 0, told.count, told.since_ns, told.until_ns, _Gap.CAUSE_GIVEN_UP)
            self.given_up(hole, "The disk did not take them; they were given up unsealed.")

    def given_up(self, hole: Evicted, detail: str) -> None:
        """Tell of events that are in no batch any more, or in batches that go nowhere."""
        now = clock.boot_ns()
        gap = self.gap(
            hole.cause,
            hole.first_ns - self.offset_ns if hole.first_ns else now,
            hole.last_ns - self.offset_ns if hole.last_ns else now,
            source="spool",
            lost=hole.event_count or None,
            detail=detail,
        )
        gap.gap.first_batch, gap.gap.last_batch = hole.first, hole.last
        self.tell(gap, urgent=False)
