"""What the detector does with an agent's stream."""

import asyncio
from collections.abc import Mapping
from functools import partial

from chassis.counters import Counter
from chassis.mongo import mongo_errors
from delivery.checks import BODY_FORMAT, Checked, RejectedError
from delivery.receiver import Session
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from services.detector.engine import judge
from services.detector.hostnames import Hostnames
from services.detector.peers import ModelWatch, Store
from services.detector.policies import Policies
from services.detector.progress import Line, Progress
from services.detector.repository import Repository

LARGE_BYTES = 512 << 10

judged_total = Counter("nightherd_detector_judged", "Events judged")


class Inspector:
    """Judges batches and records what it finds; shared by all streams."""

    def __init__(
        self, watch: ModelWatch, store: Store, policies: Policies, hostnames: Hostnames
    ) -> None:
        """Wire the parts that know how."""
        self._watch, self._store = watch, store
        self._policies, self.hostnames = policies, hostnames

    async def inspect(self, header: pb.BatchHeader, body: events.EventBatch) -> None:
        """Judge one batch; return when its findings are recorded.

        Waits for the first complete models: without them nothing can be judged.
        """
        await self._watch.complete.wait()
        await self.hostnames.learn(header.host_id, body)
        judging = partial(
            judge,
            body,
            header,
            self._watch.models,
            self._policies.of(header.herd),
            self.hostnames.of(header.host_id),
        )
        # A batch far larger than agents make must not keep all others waiting.
        large = header.body_size_bytes > LARGE_BYTES
        found = await asyncio.to_thread(judging) if large else judging()
        judged_total.inc(len(body.events))
        await self._store.record(found)


class Stream:
    """One agent's stream: the detector's `delivery.receiver.Handler`."""

    def __init__(self, inspector: Inspector, repository: Repository, progress: Progress) -> None:
        """Begin a stream."""
        self._inspector = inspector
        self._repository, self._progress = repository, progress
        self._lines: dict[bytes, Line] = {}

    async def welcome(self, session: Session) -> Mapping[bytes, int]:
        """Say where each chain goes on."""
        host = session.host_id
        chains = [chain.chain_id for chain in session.hello.chains]
        async with mongo_errors():
            settled = await self._repository.settled(host, chains)
            await self._inspector.hostnames.find(host)
        return {
            chain: max(number, self._progress.settled((host, chain))) + 1
            for chain, number in settled.items()
        }

    async def take(self, session: Session, checked: Checked) -> None:
        """Judge one batch; it is settled when its findings are recorded."""
        header = checked.header
        line = self._lines.setdefault(header.chain_id, Line())
        chain = (session.host_id, header.chain_id)
        async with self._progress.step(line, chain, header.batch_number):
            # A body of another format is a newer agent's: the store keeps it, nobody here reads it.
            if header.body_format == BODY_FORMAT:
                await self._inspector.inspect(header, checked.body())

    async def reject(
        self,
        session: Session,
        batch: pb.SealedBatch,  # noqa: ARG002
        why: RejectedError,
    ) -> None:
        """Settle a batch that is not taken; the store sets it aside."""
        header = why.header
        if header is not None and header.host_id == session.host_id:
            await self._settle(session, header.chain_id, header.batch_number)

    async def drop(self, session: Session, dropped: pb.Dropped) -> None:
        """Settle batches that will never come."""
        await self._settle(session, dropped.chain_id, dropped.last)

    async def alive(self, session: Session) -> None:
        """Nothing is to be noted."""

    async def _settle(self, session: Session, chain_id: bytes, number: int) -> None:
        line = self._lines.setdefault(chain_id, Line())
        async with self._progress.step(line, (session.host_id, chain_id), number):
            pass
