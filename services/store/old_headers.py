"""Days of headers that are too old, where headers are not kept for good."""

import structlog

from services.store.domain import removals as domain
from services.store.domain.places import bodies_of
from services.store.eraser import Eraser
from services.store.repository.chains import Chains
from services.store.repository.header_days import HeaderDays
from services.store.repository.kept import Kept
from services.store.repository.removals import Removals

log = structlog.get_logger()


class OldHeaders:
    """Drops them; killed anywhere, the same again finishes it."""

    def __init__(
        self,
        headers: HeaderDays,
        chains: Chains,
        kept: Kept,
        removals: Removals,
        eraser: Eraser,
    ) -> None:
        """Remove from these."""
        self._headers, self._chains = headers, chains
        self._kept, self._removals, self._eraser = kept, removals, eraser

    async def remove(self, now_ns: int, days: int) -> None:
        """Drop days that were sealed so long ago, came so long ago, and have no bodies left."""
        first_kept = domain.cutoff(now_ns, days)
        before_ns = domain.nanoseconds(first_kept)
        await self._headers.finish(before_ns)
        with_bodies = set(await self._removals.body_days())
        for day in await self._headers.names():
            bodies = bodies_of(day)
            if bodies in with_bodies or not domain.is_due(bodies, first_kept, now_ns):
                continue
            if not await self._headers.came_since(day, before_ns):
                await self._drop(day, before_ns, days)

    async def _drop(self, day: str, before_ns: int, days: int) -> None:
        highest = await self._headers.highest(day)
        # Before anything goes: a chain says how far it may have holes.
        await self._removals.note_headers(day, days, done=False)
        await self._chains.note_dropped(highest)
        if await self._kept.release_day(day):
            # Said before the rows go: by them a run after a crash knows that it is to be said.
            await self._eraser.say_again(day)
            await self._kept.drop(day)
        await self._headers.drop(day, before_ns)
        await self._removals.note_headers(day, days, done=True)
        log.info("headers dropped", day=day, chains=len(highest))
