"""What the store does with an agent's stream."""

from collections.abc import Awaitable, Mapping

from chassis import clock
from chassis.mongo import mongo_errors
from delivery.checks import Checked, RejectedError
from delivery.receiver import Session
from nightherd.event.v1 import delivery_pb2 as pb
from services.store.appender import Appender
from services.store.domain.places import chain_key
from services.store.domain.reading import dropped_gap
from services.store.repository.aside import Aside
from services.store.repository.chains import Chains, Progress
from services.store.repository.directives import Directives
from services.store.repository.hosts import FoundGap, Hosts


class Receiving:
    """The store's `delivery.receiver.Handler`."""

    def __init__(
        self,
        appender: Appender,
        chains: Chains,
        hosts: Hosts,
        aside: Aside,
        directives: Directives,
    ) -> None:
        """Wire the parts that know how."""
        self._appender, self._chains, self._hosts, self._aside = appender, chains, hosts, aside
        self._directives = directives

    async def welcome(self, session: Session) -> Mapping[bytes, int]:
        """Say where each chain goes on; remember the key that signs it."""
        chain_ids = [chain.chain_id for chain in session.hello.chains]
        self._appender.forget(session.host_id, chain_ids)
        async with mongo_errors():
            settled = await self._chains.settled(session.host_id, chain_ids)
            await self._chains.begin(session.host_id, chain_ids, session.peer.signing_key)
        return {chain_id: number + 1 for chain_id, number in settled.items()}

    def take(self, session: Session, checked: Checked) -> Awaitable[None]:
        """Store one batch."""
        return self._appender.append(session, checked)

    async def reject(self, session: Session, batch: pb.SealedBatch, why: RejectedError) -> None:
        """Set one batch aside; its number is settled."""
        async with mongo_errors():
            await self._aside.keep(session.host_id, batch, why.reason, str(why))
            if why.header is not None:
                # Also when it names another host: its sender counts it among its own.
                await self._settle(session, why.header.chain_id, why.header.batch_number)

    async def drop(self, session: Session, dropped: pb.Dropped) -> None:
        """Note a hole that will not be filled."""
        async with mongo_errors():
            host_id, chain_id = session.host_id, dropped.chain_id
            settled = (await self._chains.settled(host_id, [chain_id]))[chain_id]
            host = (await self._hosts.known([host_id])).get(host_id, {})
            gap = dropped_gap(dropped, settled, host.get("last_event") or 0, clock.wall_ns())
            if gap is not None:
                place = f"{chain_key(host_id, chain_id)}/dropped/{dropped.first}-{dropped.last}"
                await self._hosts.update([], [FoundGap(place, host_id, gap)])
            await self._settle(session, chain_id, dropped.last, "dropped")

    async def alive(self, session: Session) -> pb.Directive | None:
        """Note that the agent is there though it has nothing to say; return what it is asked."""
        async with mongo_errors():
            await self._hosts.alive(session.host_id, session.peer.herd)
            if session.peer.role != "host":  # who imports watches nothing
                return None
            return await self._directives.of(session.host_id, session.peer.herd)

    async def _settle(self, session: Session, chain_id: bytes, number: int, *flags: str) -> None:
        await self._chains.advance([Progress(session.host_id, chain_id, number, flags=flags)])
        # The memory of the chain does not know of it.
        self._appender.forget(session.host_id, [chain_id])
