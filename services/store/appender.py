"""Group commit: batches of many streams that wait at the same time go into one insert."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

import structlog

from chassis import clock
from chassis.counters import Counter, Histogram
from chassis.errors import UnavailableError
from chassis.mongo import AutoReconnect
from delivery.checks import Checked
from delivery.receiver import Session
from nightherd.event.v1.event_pb2 import AgentStatus, HostFacts
from services.store.domain import own_findings
from services.store.domain.chain import Memory
from services.store.domain.places import batch_key
from services.store.domain.reading import read, skew_ms
from services.store.repository.chains import Chains, Progress
from services.store.repository.findings import Findings
from services.store.repository.headers import FORK
from services.store.repository.hosts import FoundGap, Heard, Hosts
from services.store.repository.inserts import AGAIN, Inserts
from services.store.repository.sessions import Sessions, Told

log = structlog.get_logger()
groups = Histogram("nightherd_store_group", "Batches in one insert", buckets=(1, 2, 4, 8, 16, 32))
outcomes_total = Counter("nightherd_store_outcomes", "Batches by what became of them", ["what"])

Chain = tuple[str, bytes]
LANES = 2
"""Groups under way at once: while one waits for the journal, the next is made."""
KNOWN_CHAINS = 10_000
"""Chains that are kept in memory; the rest is read again when needed."""


class NotStoredError(UnavailableError):
    """MongoDB did not take a group; nothing of it is acknowledged."""

    reason = "NOT_STORED"


@dataclass(slots=True, eq=False)
class _Waiting:
    session: Session
    checked: Checked
    stored: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Appender:
    """Takes batches one by one, stores them in groups, returns when they are in the journal."""

    def __init__(
        self,
        inserts: Inserts,
        chains: Chains,
        hosts: Hosts,
        findings: Findings,
        sessions: Sessions,
        most: int,
    ) -> None:
        """Store at most `most` batches in one insert."""
        self._inserts, self._chains, self._hosts = inserts, chains, hosts
        self._findings, self._sessions, self._most = findings, sessions, most
        # Bounded by the windows of the streams: each batch in it is held by its stream anyway.
        self._queue: deque[_Waiting] = deque()
        self._busy: set[str] = set()
        """Hosts in a group that is under way: what comes behind must not overtake it."""
        self._change = asyncio.Event()
        self._memories: dict[Chain, Memory] = {}
        # Streams of which a batch was not stored. What comes behind it in the same stream must not
        # be stored either: a higher number would count as settled, and the hole would stay.
        self._broken: WeakSet[Session] = WeakSet()

    def forget(self, host_id: str, chain_ids: Sequence[bytes]) -> None:
        """Read these chains anew: another replica may have gone on with them."""
        for chain_id in chain_ids:
            self._memories.pop((host_id, chain_id), None)

    def append(self, session: Session, checked: Checked) -> "asyncio.Future[None]":
        """Return a future, done when `checked` is durable.

        It fails with NotStoredError when it is not; sending again is harmless.
        """
        waiting = _Waiting(session, checked)
        self._queue.append(waiting)
        self._change.set()
        return waiting.stored

    async def run(self) -> None:
        """Store what waits, until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane())

    async def _lane(self) -> None:
        while True:
            group = self._next_group()
            if not group:
                self._change.clear()
                await self._change.wait()
                continue
            groups.observe(len(group))
            hosts = {waiting.checked.header.host_id for waiting in group}
            self._busy |= hosts
            try:
                await self._try(group)
            finally:
                self._busy -= hosts
                self._change.set()

    def _next_group(self) -> list[_Waiting]:
        """Take what waits, in order, but nothing of a host that is under way."""
        group: list[_Waiting] = []
        others: list[_Waiting] = []
        while self._queue and len(group) < self._most:
            waiting = self._queue.popleft()
            held = waiting.checked.header.host_id in self._busy
            (others if held else group).append(waiting)
        self._queue.extendleft(reversed(others))
        return group

    async def _try(self, group: Sequence[_Waiting]) -> None:
        behind = [waiting for waiting in group if waiting.session in self._broken]
        self._fail(behind, NotStoredError("an earlier batch was not stored; send both again"))
        group = [waiting for waiting in group if waiting.session not in self._broken]
        if not group:
            return
        try:
            await self._store([waiting.checked for waiting in group])
        except AutoReconnect as error:  # MongoDB is away, for every batch alike
            log.warning("group not stored", batches=len(group), error=str(error)[:200])
            self._fail(group, NotStoredError("MongoDB did not take the batch; send it again"))
        except Exception as error:
            if len(group) > 1:
                for waiting in group:
                    # What is remembered may be ahead of what was noted.
                    header = waiting.checked.header
                    self.forget(header.host_id, [header.chain_id])
                    await self._try([waiting])
                return
            log.exception("batch not stored", host=group[0].checked.header.host_id)
            self._fail(group, NotStoredError(f"the batch was not stored: {type(error).__name__}"))
        else:
            for waiting in group:
                if not waiting.stored.done():
                    waiting.stored.set_result(None)

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        for waiting in group:
            self._broken.add(waiting.session)
            header = waiting.checked.header
            self.forget(header.host_id, [header.chain_id])
            if not waiting.stored.done():
                waiting.stored.set_exception(error)

    async def _store(self, group: Sequence[Checked]) -> None:
        memories = {_chain(checked): await self._memory(_chain(checked)) for checked in group}
        outcomes = await self._inserts.append(
            [memories[_chain(checked)].place(checked) for checked in group]
        )
        heard, gaps, told = _heard(group, outcomes)
        await self._hosts.update(heard, gaps)
        await self._sessions.note(told)
        forks = [
            own_findings.fork(checked)
            for checked, outcome in zip(group, outcomes, strict=True)
            if outcome == FORK
        ]
        if forks:
            await self._findings.record(forks)
        # Last: only what is stored and noted counts as settled.
        await self._chains.advance(_progress(group, outcomes, memories))

    async def _memory(self, chain: Chain) -> Memory:
        memory = self._memories.get(chain)
        if memory is None:
            memory = await self._chains.memory(*chain)
            if len(self._memories) >= KNOWN_CHAINS:
                self._memories.clear()
            self._memories[chain] = memory
        return memory


def _chain(checked: Checked) -> Chain:
    return checked.header.host_id, checked.header.chain_id


def _progress(
    group: Sequence[Checked], outcomes: Sequence[str], memories: Mapping[Chain, Memory]
) -> list[Progress]:
    by_chain: dict[Chain, list[tuple[Checked, str]]] = {}
    for checked, outcome in zip(group, outcomes, strict=True):
        outcomes_total.labels(outcome).inc()
        by_chain.setdefault(_chain(checked), []).append((checked, outcome))
    return [_of_chain(*chain, memories[chain], members) for chain, members in by_chain.items()]


def _of_chain(
    host_id: str, chain_id: bytes, memory: Memory, members: Sequence[tuple[Checked, str]]
) -> Progress:
    hashes: dict[int, bytes] = {}
    events: dict[int, int] = {}
    flags: set[str] = set()
    for checked, outcome in members:
        if outcome == FORK:
            flags.add("fork")
            continue
        number = checked.header.batch_number
        flags.update(checked.flags)
        events[number] = checked.header.event_count
        # Also for a resend: the store may have been killed before it noted the first time.
        odd = memory.oddities(checked)
        if memory.note(checked):
            hashes[number] = checked.hash
            flags |= odd
    settled = max(checked.header.batch_number for checked, _ in members)
    return Progress(host_id, chain_id, settled, events, hashes, sorted(flags))


def _heard(
    group: Sequence[Checked], outcomes: Sequence[str]
) -> tuple[list[Heard], list[FoundGap], list[Told]]:
    now = clock.wall_ns()
    heard: dict[str, Heard] = {}
    gaps: list[FoundGap] = []
    told: list[Told] = []
    for checked, outcome in zip(group, outcomes, strict=True):
        header = checked.header
        reading = read(checked)
        said = Heard(
            host_id=header.host_id,
            herd=header.herd,
            origin=header.origin,
            last_event_ns=clock.from_timestamp(header.last_event_time),
            # A resend was sealed long ago: it says nothing about the clock.
            skew_ms=None if outcome == AGAIN else skew_ms(checked, now),
            facts=_said(reading.facts, now),
            status=_said(reading.status, now),
        )
        before = heard.get(header.host_id)
        heard[header.host_id] = said if before is None else before.then(said)
        gaps += [
            FoundGap(f"{batch_key(*checked.key)}/{place}", header.host_id, gap)
            for place, gap in reading.gaps
        ]
        told += [
            Told(header.host_id, header.boot_id, time_ns, start)
            for time_ns, start in reading.sessions
        ]
    return list(heard.values()), gaps, told


def _said(
    latest: tuple[int, HostFacts] | tuple[int, AgentStatus] | None, now_ns: int
) -> tuple[int, bytes] | None:
    """Return (time, bytes); a time in the future is now, or it would stand until it comes."""
    return None if latest is None else (min(latest[0], now_ns), latest[1].SerializeToString())
