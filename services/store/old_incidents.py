"""Incidents whose days are over, and what was kept around them."""

import structlog

from services.store.domain import removals as domain
from services.store.eraser import Eraser
from services.store.repository.incidents import Incidents
from services.store.repository.kept import Kept
from services.store.repository.removals import Removals

log = structlog.get_logger()
AT_ONCE = 500


class OldIncidents:
    """Removes them; killed anywhere, the same again finishes it."""

    def __init__(
        self, incidents: Incidents, kept: Kept, removals: Removals, eraser: Eraser
    ) -> None:
        """Remove from these."""
        self._incidents, self._kept = incidents, kept
        self._removals, self._eraser = removals, eraser

    async def remove(self, now_ns: int, days: int) -> None:
        """Remove incidents without an alert for so many whole days: bodies first, they last."""
        before = domain.cutoff(now_ns, days)
        while ids := await self._incidents.end(domain.nanoseconds(before), AT_ONCE):
            for day in await self._kept.release(ids):
                await self._eraser.say_again(day)
            await self._kept.clear()
            await self._incidents.remove(ids)
            await self._removals.note_findings("incident", before, len(ids), days)
            log.info("incidents dropped", count=len(ids))
