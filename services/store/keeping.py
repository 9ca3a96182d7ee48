"""What lies around incidents is copied before it goes: first the copy, then the removal."""

from evidence.removals import Removal
from services.store.domain.incidents import MARGIN_NS
from services.store.domain.removals import AUTHORITY
from services.store.repository.bodies import size_of
from services.store.repository.incidents import Incidents, Row
from services.store.repository.kept import Kept, marked
from services.store.repository.removals import Removals, headers_query


class Keeper:
    """Copies bodies for incidents; killed anywhere, the same again finishes it."""

    def __init__(
        self, incidents: Incidents, kept: Kept, removals: Removals, most_bytes: int
    ) -> None:
        """Keep at most so many bytes around each incident."""
        self._incidents, self._kept, self._removals = incidents, kept, removals
        self._most_bytes = most_bytes

    async def keep(self, day: str, removal: Removal) -> None:
        """Copy what `removal` would take away of a day from around incidents."""
        span = await self._removals.span(day)
        if span is None or removal.why == AUTHORITY:
            return
        await self._withdraw_erased(day, removal.host_id)
        near = self._incidents.overlapping(
            removal.host_id, span[0] - MARGIN_NS, span[1] + MARGIN_NS
        )
        async for incident in near:
            await self._around(day, removal, incident)

    async def _withdraw_erased(self, day: str, host_id: str) -> None:
        """Remove copies of erased bodies that a run left which was killed while it copied."""
        query = {"h": host_id} if host_id else {}
        by_host: dict[str, list[Row]] = {}
        async for row in self._kept.rows_of(day, query):
            by_host.setdefault(row["h"], []).append(row)
        for each, rows in by_host.items():
            await self._withdraw(day, each, rows)

    async def _around(self, day: str, removal: Removal, incident: Row) -> None:
        host_id, incident_id = incident["host"], incident["_id"]
        extent = (await self._kept.extents([incident_id])).get(incident_id)
        used = extent.size_bytes if extent is not None else 0
        begin, end = incident["t0"] - MARGIN_NS, incident["t1"] + MARGIN_NS
        condition = headers_query(removal)
        async for part in self._kept.around(day, host_id, begin, end, condition):
            known = await self._kept.known(incident_id, [row["_id"] for row, _ in part])
            fits, too_much = [], []
            for row, body in part:
                if row["_id"] in known:
                    continue
                if used + size_of(body) <= self._most_bytes:
                    used += size_of(body)
                    fits.append((row, body))
                else:
                    too_much.append((row, body))
            await self._kept.keep(day, incident_id, fits)
            await self._kept.leave_out(day, incident_id, too_much)
            await self._withdraw(day, host_id, [row for row, _ in part])

    async def _withdraw(self, day: str, host_id: str, copied: list[Row]) -> None:
        """Remove what was erased by authority while it was copied: its mark is there before."""
        marks = await self._removals.of_host(host_id)
        orders = [mark for mark in marks if mark.why == AUTHORITY]
        gone = [row["_id"] for row in copied if any(o.covers(marked(row, day)) for o in orders)]
        if gone:
            await self._kept.remove(gone)
