"""What is too old, too much, or not to be kept goes; that it went stays known."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from chassis import clock
from chassis.mongo import PyMongoError
from evidence.removals import Removal
from services.store.domain import removals as domain
from services.store.domain.places import BODIES, PREFIX, bodies_of
from services.store.eraser import Eraser
from services.store.old_headers import OldHeaders
from services.store.old_incidents import OldIncidents
from services.store.repository.leases import Leases
from services.store.repository.removals import OldFindings, Removals
from services.store.repository.sessions import Sessions

log = structlog.get_logger()
TASK = "retention"
LEASE_S = 600.0
MOST_SKEW_S = 3600.0


@dataclass(frozen=True, slots=True)
class Keep:
    """How long and how much; 0: without end."""

    evidence_days: int = 0
    activities_days: int = 0
    alerts_days: int = 0
    incident_days: int = 0
    headers_days: int = 0
    host_bytes: int = 0


class Retention:
    """The background task; one replica at a time does it."""

    def __init__(
        self,
        keep: Keep,
        removals: Removals,
        eraser: Eraser,
        findings: OldFindings,
        incidents: OldIncidents,
        headers: OldHeaders,
        sessions: Sessions,
        leases: Leases,
    ) -> None:
        """Keep what `keep` says."""
        self._incidents, self._headers = incidents, headers
        self._keep, self._removals, self._eraser = keep, removals, eraser
        self._findings, self._sessions, self._leases = findings, sessions, leases

    async def run(self, pause_s: float) -> None:
        """Look again and again for what has to go, until cancelled."""
        while True:
            try:
                async with self._leased() as ours:
                    if ours and await self._clock_is_right():
                        await self.once(clock.wall_ns())
            except PyMongoError as error:
                log.warning("retention did not finish", error=str(error)[:200])
            except Exception:  # a mistake of ours is told, and does not end retention for good
                log.exception("retention failed")
            await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[bool]:
        ours = await self._leases.take(TASK, LEASE_S)
        try:
            yield ours
        finally:
            if ours:
                await self._leases.give_back(TASK)

    async def _clock_is_right(self) -> bool:
        """Whether MongoDB's clock says about the same: a clock far ahead would drop everything."""
        off_s = abs((await self._leases.now() - dt.datetime.now(dt.UTC)).total_seconds())
        if off_s > MOST_SKEW_S:
            log.error("retention waits: clocks of store and MongoDB differ", seconds=round(off_s))
        return off_s <= MOST_SKEW_S

    async def once(self, now_ns: int) -> None:
        """Remove what has to go at `now_ns`; each step is harmless when done again."""
        for removal in await self._removals.undone():
            if removal.why != domain.RETENTION:
                await self._eraser.carry_out(removal)
            elif bodies_of(removal.day) not in await self._removals.body_days():
                await self._drop(removal)  # killed right behind the drop
        if self._keep.evidence_days:
            await self._drop_days(now_ns)
        if self._keep.host_bytes:
            await self._enforce_quota(now_ns)
        await self._drop_found(now_ns)
        if self._keep.headers_days:
            await self._headers.remove(now_ns, self._keep.headers_days)

    async def _drop_found(self, now_ns: int) -> None:
        for kind, days in (
            ("activity", self._keep.activities_days),
            ("alert", self._keep.alerts_days),
        ):
            if days:
                before = domain.cutoff(now_ns, days)
                gone = await self._findings.remove(kind, domain.nanoseconds(before))
                if gone:
                    await self._removals.note_findings(kind, before, gone, days)
                    log.info("findings dropped", kind=kind, count=gone)
        if self._keep.incident_days:
            await self._incidents.remove(now_ns, self._keep.incident_days)

    async def _drop_days(self, now_ns: int) -> None:
        first_kept = domain.cutoff(now_ns, self._keep.evidence_days)
        before_ns = domain.nanoseconds(first_kept)
        for bodies in await self._removals.body_days():
            if domain.is_due(bodies, first_kept, now_ns):
                await self._leases.take(TASK, LEASE_S)
                await self._drop_day(PREFIX + bodies.removeprefix(BODIES), before_ns)
        await self._sessions.forget(before_ns)

    async def _drop_day(self, day: str, before_ns: int) -> None:
        """Drop a day; what came late stays until it has been here as long as anything else.

        A host with a wrong clock, or one that lies about the time, does not lose its evidence.
        """
        removal = domain.of_day(day, before_ns, self._keep.evidence_days)
        known = await self._removals.find(removal.removal_id)
        if await self._removals.received_since(day, before_ns):
            if known is None or not known[1] or known[0].received_before_ns < before_ns:
                await self._eraser.carry_out(removal)
            return
        await self._drop(removal)

    async def _drop(self, removal: Removal) -> None:
        removal = await self._removals.begin(removal)
        day, before_ns = removal.day, removal.received_before_ns
        batches, events, _ = await self._eraser.prepare(day, removal)
        await self._removals.drop_day(day)
        # What came in this very moment went too: then the mark says so.
        late = dict(await self._removals.received_since(day, before_ns))
        if gone := await self._removals.without_body(day, list(late)):
            until_ns = max(late[key] for key in gone) + 1
            removal = await self._removals.begin(replace(removal, received_before_ns=until_ns))
            await self._eraser.say(day, removal)
        await self._removals.end(removal)
        log.info("day dropped", day=day, batches=batches, events=events)

    async def _enforce_quota(self, now_ns: int) -> None:
        days = await self._removals.body_days()
        totals: dict[str, int] = {}
        for bodies in days:
            for host_id, size in (await self._removals.bytes_by_host(bodies)).items():
                totals[host_id] = totals.get(host_id, 0) + size
        for host_id, size in totals.items():
            excess = size - self._keep.host_bytes
            for bodies in days:
                if excess <= 0:
                    break
                await self._leases.take(TASK, LEASE_S)
                excess -= await self._trim(bodies, host_id, excess, now_ns)

    async def _trim(self, bodies: str, host_id: str, excess: int, now_ns: int) -> int:
        found = await self._removals.oldest(bodies, host_id, excess)
        if found is None:
            return 0
        through_ns, size = found
        day = PREFIX + bodies.removeprefix(BODIES)
        quota = self._keep.host_bytes
        removal = domain.of_quota(host_id, day, through_ns, now_ns, quota)
        await self._eraser.carry_out(removal)
        log.info("quota enforced", host=host_id, day=day, bytes=size)
        return size
