"""Removes bodies, never without a mark, and says which events are missing by it."""

from chassis import clock
from evidence.removals import Removal
from nightherd.event.v1.event_pb2 import Gap
from services.store.domain import removals as domain
from services.store.domain.places import PREFIX
from services.store.domain.removals import Sum
from services.store.keeping import Keeper
from services.store.repository.hosts import FoundGap, Hosts
from services.store.repository.removals import Removals

GAPS_AT_ONCE = 500


class Eraser:
    """Carries out what a mark says: mark, copies for incidents, gaps, bodies, then "done".

    Killed anywhere, the same again finishes it.
    """

    def __init__(self, removals: Removals, hosts: Hosts, keeper: Keeper) -> None:
        """Remove from these."""
        self._removals, self._hosts, self._keeper = removals, hosts, keeper

    async def carry_out(self, removal: Removal) -> tuple[int, int]:
        """Remove the bodies that `removal` is about; return (batches, events) that are gone."""
        removal = await self._removals.begin(removal)
        batches = events = 0
        for day in await self._removals.days(removal):
            sums = await self.prepare(day, removal)
            if any(sums):
                await self._removals.remove(day, removal)
            batches, events = batches + sums[0], events + sums[1]
        await self._removals.end(removal)
        return batches, events

    async def extent(self, removal: Removal) -> domain.Extent:
        """Return what `removal` would remove now."""
        extent = domain.Extent()
        for day in await self._removals.days(removal):
            await self._removals.add_extent(day, removal, extent)
        return extent

    async def prepare(self, day: str, removal: Removal) -> tuple[int, int, int]:
        """Copy what incidents need of one day, then `say` what goes."""
        await self._keeper.keep(day, removal)
        return await self.say(day, removal)

    async def say(self, day: str, removal: Removal) -> tuple[int, int, int]:
        """Note the gaps of one day; return (batches, events) that go, and batches kept."""
        batches = events = kept = 0
        gaps: list[FoundGap] = []
        async for found in self._removals.sums(day, removal):
            kept += found.kept
            if not found.batches:
                continue
            batches, events = batches + found.batches, events + found.events
            gaps.append(_gap(day, removal, found))
            if len(gaps) == GAPS_AT_ONCE:
                await self._hosts.say_removed(gaps)
                gaps = []
        await self._hosts.say_removed(gaps)
        return batches, events, kept

    async def say_again(self, day: str) -> None:
        """Note the gaps of one day again: what was kept until now is missing from now on."""
        for mark in await self._removals.of_day(day):
            await self.say(day, mark)


def _gap(day: str, removal: Removal, found: Sum) -> FoundGap:
    detail = f"{found.batches} batches of {day.removeprefix(PREFIX)} were removed: {removal.reason}"
    if found.kept:
        detail += f"; {found.kept} more are kept around incidents"
    gap = Gap(
        cause=Gap.CAUSE_RETENTION,
        start_time=clock.to_timestamp(found.first_ns),
        end_time=clock.to_timestamp(found.last_ns),
        precision=Gap.PRECISION_EXACT,
        lost=found.events,
        source=removal.why,
        detail=detail,
    )
    return FoundGap(f"{removal.removal_id}/{day}/{found.host_id}", found.host_id, gap)
