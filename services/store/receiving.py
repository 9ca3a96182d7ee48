"""What the store does with an agent's stream."""

from collections.abc import Mapping

from chassis import clock
from chassis.mongo import mongo_errors
from delivery.checks import Checked, RejectedError
from delivery.receiver import Session
from nightherd.event.v1 import delivery_pb2 as pb
from services.store.appender import Appender
from services.store.domain.places import chain_key
from services.store.domain.reading import dropped_gap
from services.store.repository.aside import Aside
from services.store.repository.chains import Chains
from services.store.repository.hosts import FoundGap, Hosts


class Receiving:
    """The store's `delivery.receiver.Handler`."""

    def __init__(self, appender: Appender, chains: Chains, hosts: Hosts, aside: Aside) -> None:
        """Wire the parts that know how."""
        self._appender, self._chains, self._hosts, self._aside = appender, chains, hosts, aside

    async def welcome(self, session: Session) -> Mapping[bytes, int]:
        """Say where each chain goes on; remember the key that signs it."""
        chain_ids = [chain.chain_id for chain in session.hello.chains]
        async with mongo_errors():
            settled = await self._chains.settled(session.host_id, chain_ids)
            await self._hosts.alive(session.host_id, session.peer.herd)
            await self._chains.update(
                [
                    self._chains.change(
                        session.host_id, chain_id, signing_key=session.peer.signing_key
                    )
                    for chain_id in chain_ids
                ]
            )
        return {chain_id: number + 1 for chain_id, number in settled.items()}

    async def take(self, session: Session, checked: Checked) -> None:  # noqa: ARG002
        """Store one batch."""
        await self._appender.append(checked)

    async def reject(self, session: Session, batch: pb.SealedBatch, why: RejectedError) -> None:
        """Set one batch aside; its number is settled."""
        async with mongo_errors():
            await self._aside.keep(session.host_id, batch, why.reason, str(why))
            if why.header is not None and why.header.host_id == session.host_id:
                await self._settle(session.host_id, why.header.chain_id, why.header.batch_number)

    async def drop(self, session: Session, dropped: pb.Dropped) -> None:
        """Note a hole that will not be filled."""
        chain = chain_key(session.host_id, dropped.chain_id)
        gap = dropped_gap(dropped, clock.wall_ns())
        found = FoundGap(f"{chain}/dropped/{dropped.first}-{dropped.last}", session.host_id, gap)
        async with mongo_errors():
            await self._hosts.update([], [found])
            await self._settle(session.host_id, dropped.chain_id, dropped.last, "dropped")

    async def alive(self, session: Session) -> None:
        """Note that the agent is there though it has nothing to say."""
        async with mongo_errors():
            await self._hosts.alive(session.host_id, session.peer.herd)

    async def _settle(self, host_id: str, chain_id: bytes, number: int, *flags: str) -> None:
        await self._chains.update(
            [self._chains.change(host_id, chain_id, settled=number, flags=flags)]
        )
