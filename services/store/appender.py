"""Group commit: batches of many streams that wait at the same time go into one insert."""

import asyncio
from collections.abc import Sequence

import structlog

from chassis import clock
from chassis.counters import Counter, Histogram
from chassis.errors import UnavailableError
from chassis.mongo import PyMongoError
from delivery.checks import Checked
from services.store.domain import own_findings
from services.store.domain.places import batch_key
from services.store.domain.reading import linked, read, skew_ms
from services.store.repository.batches import Batches
from services.store.repository.chains import Chains
from services.store.repository.findings import Findings
from services.store.repository.hosts import FoundGap, Heard, Hosts

log = structlog.get_logger()
groups = Histogram("nightherd_store_group", "Batches in one insert", buckets=(1, 2, 4, 8, 16, 32))
odd_total = Counter("nightherd_store_odd", "Batches that were not plainly new", ["what"])

Waiting = tuple[Checked, "asyncio.Future[None]"]
KNOWN_CHAINS = 10_000
"""Chains whose last hashes are kept in memory; the rest is read again when needed."""


class NotStoredError(UnavailableError):
    """MongoDB did not take a group; nothing of it is acknowledged."""

    reason = "NOT_STORED"


class Appender:
    """Takes batches one by one, stores them in groups, returns when they are in the journal."""

    def __init__(
        self, batches: Batches, chains: Chains, hosts: Hosts, findings: Findings, most: int
    ) -> None:
        """Store at most `most` batches in one insert."""
        self._batches, self._chains, self._hosts = batches, chains, hosts
        self._findings, self._most = findings, most
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(maxsize=4 * most)
        self._hashes: dict[tuple[str, bytes], dict[int, bytes]] = {}

    async def append(self, checked: Checked) -> None:
        """Return when `checked` is durable.

        Raises:
            NotStoredError: it is not; sending again is harmless.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._queue.put((checked, stored))
        await stored

    async def run(self) -> None:
        """Store what waits, until cancelled."""
        while True:
            waiting = [await self._queue.get()]
            while len(waiting) < self._most and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            groups.observe(len(waiting))
            try:
                await self._store([checked for checked, _ in waiting])
            except PyMongoError as error:
                log.warning("group not stored", batches=len(waiting), error=str(error)[:200])
                self._fail(waiting, NotStoredError("MongoDB did not take the batch; send it again"))
            except Exception as error:  # noqa: BLE001  (one poisonous batch must not end the store)
                log.exception("group not stored", batches=len(waiting))
                self._fail(waiting, error)
            else:
                for _, stored in waiting:
                    if not stored.done():
                        stored.set_result(None)

    def _fail(self, waiting: Sequence[Waiting], error: Exception) -> None:
        self._hashes.clear()
        for _, stored in waiting:
            if not stored.done():
                stored.set_exception(error)

    async def _store(self, group: Sequence[Checked]) -> None:
        for checked in group:
            key = (checked.header.host_id, checked.header.chain_id)
            if key not in self._hashes:
                if len(self._hashes) >= KNOWN_CHAINS:
                    self._hashes.clear()
                self._hashes[key] = await self._chains.recent(*key)
        odd = await self._batches.append(group)
        await self._hosts.update(*self._heard(group, odd))
        forks = [own_findings.fork(c) for c in group if odd.get(batch_key(*c.key)) == "fork"]
        if forks:
            await self._findings.record(forks)
        # Last: only what is stored and noted counts as settled.
        await self._note_chains(group, odd)

    async def _note_chains(self, group: Sequence[Checked], odd: dict[str, str]) -> None:
        by_chain: dict[tuple[str, bytes], list[Checked]] = {}
        for checked in group:
            by_chain.setdefault((checked.header.host_id, checked.header.chain_id), []).append(
                checked
            )
        changes = []
        for (host_id, chain_id), members in by_chain.items():
            hashes = self._hashes[host_id, chain_id]
            fresh: dict[int, bytes] = {}
            flags: set[str] = set()
            for checked in members:
                number = checked.header.batch_number
                what = odd.get(batch_key(*checked.key), "new")
                odd_total.labels(what).inc()
                if what == "fork":
                    flags.add("fork")
                    continue
                flags.update(checked.flags)
                if what == "new":
                    flags.update(_oddities(hashes, checked))
                if number not in hashes:
                    hashes[number] = fresh[number] = checked.hash
            for old in sorted(hashes)[:-256]:
                del hashes[old]
            numbers = [checked.header.batch_number for checked in members]
            changes.append(
                self._chains.change(
                    host_id,
                    chain_id,
                    numbers=numbers,
                    settled=max(numbers),
                    hashes=fresh,
                    flags=sorted(flags),
                )
            )
        await self._chains.update(changes)

    def _heard(
        self, group: Sequence[Checked], odd: dict[str, str]
    ) -> tuple[list[Heard], list[FoundGap]]:
        now = clock.wall_ns()
        heard: list[Heard] = []
        gaps: list[FoundGap] = []
        for checked in group:
            header = checked.header
            reading = read(checked)
            heard.append(
                Heard(
                    host_id=header.host_id,
                    herd=header.herd,
                    origin=header.origin,
                    last_event_ns=clock.from_timestamp(header.last_event_time),
                    # A resend was sealed long ago: it says nothing about the clock.
                    skew_ms=None if odd.get(batch_key(*checked.key)) else skew_ms(checked, now),
                    facts=(reading.facts[0], reading.facts[1].SerializeToString())
                    if reading.facts
                    else None,
                    status=(reading.status[0], reading.status[1].SerializeToString())
                    if reading.status
                    else None,
                )
            )
            gaps += [
                FoundGap(f"{batch_key(*checked.key)}/{place}", header.host_id, gap)
                for place, gap in reading.gaps
            ]
        return heard, gaps


def _oddities(hashes: dict[int, bytes], checked: Checked) -> set[str]:
    """What the batch's place in its chain says."""
    follows = linked(hashes, checked)
    if follows is False:
        return {"broken link"}
    if follows is None and hashes and checked.header.batch_number > max(hashes) + 1:
        return {"missing"}
    return set()
