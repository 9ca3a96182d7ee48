"""Walks what is stored while nobody asks: links of new batches soon, every body now and then."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from chassis import clock
from chassis.mongo import PyMongoError
from evidence.removals import Removal
from nightherd.detector.v1 import finding_pb2
from nightherd.event.v1 import delivery_pb2 as delivery
from services.store.domain import own_findings
from services.store.domain.links import walk
from services.store.domain.scrubbing import Scrubbed, scrub
from services.store.repository.batches import Batches
from services.store.repository.custody import Custody, Row, Stretch
from services.store.repository.findings import Findings
from services.store.repository.headers import FORK, marked
from services.store.repository.hosts import Hosts
from services.store.repository.leases import Leases
from services.store.repository.removals import Removals

log = structlog.get_logger()
TASK = "custody"
CHAINS_AT_ONCE = 50
BATCHES_AT_ONCE = 16
BATCH_BYTES = 4096
"""What reading any batch costs beside its body: many small ones are not read faster than few."""
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how fast."""

    walk_s: float
    """Pause between two walks over what is new."""
    bytes_per_s: float
    """Bodies read a second; 0: none."""
    round_s: float = 3600.0
    """Shortest time between the end of a round over all bodies and the next."""


class Custodian:
    """The background task; one replica at a time does it."""

    def __init__(
        self,
        custody: Custody,
        batches: Batches,
        removals: Removals,
        hosts: Hosts,
        findings: Findings,
        leases: Leases,
    ) -> None:
        """Read from these; what is wrong becomes a finding."""
        self._custody, self._batches, self._removals = custody, batches, removals
        self._hosts, self._findings, self._leases = hosts, findings, leases

    async def run(self, pace: Pace) -> None:
        """Walk again and again, until cancelled."""
        while True:
            until = time.monotonic() + pace.walk_s
            try:
                # Long enough for a slow walk; another replica goes on when this one is gone.
                if await self._leases.take(TASK, 2 * pace.walk_s + 30):
                    await self.walk_links()
                    await self._scrub_until(until, pace)
            except PyMongoError as error:
                log.warning("custody walk did not finish", error=str(error)[:200])
            except Exception:  # a mistake of ours is told, and does not end custody for good
                log.exception("custody walk failed")
            await asyncio.sleep(max(until - time.monotonic(), 0.1))

    async def walk_links(self) -> None:
        """Check the links of all batches that were stored since the last time."""
        part: list[Stretch] = []
        async for stretch in self._custody.stretches():
            part.append(stretch)
            if len(part) == CHAINS_AT_ONCE:
                await self._walk(part)
                part = []
        if part:
            await self._walk(part)

    async def _walk(self, part: list[Stretch]) -> None:
        headers = await self._custody.headers(part)
        places = []
        for stretch in part:
            faults, walked = walk(stretch.walked, stretch.remembered, headers[stretch.key])
            for fault in faults:
                herd = (await self._hosts.known([stretch.host_id])).get(stretch.host_id, {})
                chain = own_findings.Place(
                    stretch.host_id, herd.get("herd", ""), stretch.chain, fault.number
                )
                detail = f"{fault.kind}: {fault.detail}"
                await self._found([own_findings.broken(chain, clock.wall_ns(), detail)])
            places.append((stretch.key, walked))
        # Behind the findings: a crash between finds the same once more, which is one occurrence.
        await self._custody.note_walked(places)

    async def _scrub_until(self, until: float, pace: Pace) -> None:
        while pace.bytes_per_s and time.monotonic() < until:
            size = await self.scrub_some(pace.round_s)
            if size is None:
                return
            await asyncio.sleep(size / pace.bytes_per_s)

    async def scrub_some(self, round_s: float = 0) -> int | None:
        """Read the next few bodies; return what it cost in bytes, None at the end of a round."""
        rows = await self._custody.next_to_scrub(BATCHES_AT_ONCE, round_s)
        if not rows:
            return None
        joined = await self._batches.joined([row for _, row in rows])
        opened = await asyncio.to_thread(_scrubbed, joined)
        # Asked after bodies were looked for: a mark is written before its bodies go.
        hosts = {row["h"] for (_, row), found in zip(rows, opened, strict=True) if found is None}
        removals = {host: await self._removals.of_host(host) for host in hosts}
        for (day, row), found in zip(rows, opened, strict=True):
            judged = _missing(row, removals[row["h"]]) if found is None else found
            if judged is not None:
                await self._judge(day, row, judged)
        await self._custody.note_scrubbed(rows[-1][0], rows[-1][1]["_id"])
        return sum(len(body) + BATCH_BYTES for _, body in joined)

    async def _judge(self, day: str, row: Row, found: Scrubbed) -> None:
        place = own_findings.Place(row["h"], row["d"], row["c"], row["n"])
        if found.broken:
            await self._found([own_findings.broken(place, row["s"], found.broken)])
            return
        lies = found.lies
        if await self._custody.put_right(day, row, found):
            lies = [*lies, "its index does not say what it holds"]
        if lies and FORK not in row["f"]:
            await self._found([own_findings.lying(place, row["s"], "; ".join(lies))])

    async def _found(self, findings: list[finding_pb2.Finding]) -> None:
        for finding in findings:
            log.error("custody", host=finding.host_id, found=finding.alert.message)
        await self._findings.record(findings)


def _scrubbed(joined: list[tuple[Row, bytes]]) -> list[Scrubbed | None]:
    """Open some batches; None for one without body."""
    return [scrub(bytes(row["k"]), body) if body else None for row, body in joined]


def _missing(row: Row, removals: Sequence[Removal]) -> Scrubbed | None:
    """Return what a body that is not there means; None: it is no wonder."""
    try:
        unknown = delivery.BatchHeader.FromString(row["k"]).body_format != 1
    except DecodeError:
        return Scrubbed("its header cannot be read")
    mark = marked(row)
    if unknown or any(removal.covers(mark) for removal in removals):
        return None
    return Scrubbed("its body is not there, and nothing says that it was removed")
