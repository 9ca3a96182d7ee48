"""What the modeler does with an agent's stream."""

from collections.abc import Mapping

from chassis.mongo import mongo_errors
from delivery.checks import Checked, RejectedError
from delivery.receiver import Session
from nightherd.event.v1 import delivery_pb2 as pb
from services.modeler.domain.calendar import Calendar
from services.modeler.domain.learning import Lesson, lesson
from services.modeler.learner import Learner
from services.modeler.repository.chains import Chains


class Receiving:
    """The modeler's `delivery.receiver.Handler`."""

    def __init__(self, learner: Learner, chains: Chains, calendar: Calendar) -> None:
        """Wire the parts that know how."""
        self._learner, self._chains, self._calendar = learner, chains, calendar

    async def welcome(self, session: Session) -> Mapping[bytes, int]:
        """Say where each chain goes on."""
        chain_ids = [chain.chain_id for chain in session.hello.chains]
        async with mongo_errors():
            settled = await self._chains.settled(session.host_id, chain_ids)
        return {chain_id: number + 1 for chain_id, number in settled.items()}

    async def take(self, session: Session, checked: Checked) -> None:
        """Learn from one batch."""
        header = checked.header
        learned = lesson(checked.body(), header.herd, session.host_id, self._calendar)
        await self._learner.learn(session.host_id, header.chain_id, header.batch_number, learned)

    async def reject(self, session: Session, batch: pb.SealedBatch, why: RejectedError) -> None:  # noqa: ARG002
        """Settle the number of a batch that is not taken; the store sets it aside."""
        header = why.header
        if header is not None and header.host_id == session.host_id:
            await self._pass(session, header.chain_id, header.batch_number)

    async def drop(self, session: Session, dropped: pb.Dropped) -> None:
        """Settle numbers that will never come."""
        await self._pass(session, dropped.chain_id, dropped.last)

    async def alive(self, session: Session) -> None:
        """Nothing is to be done: a silent host teaches nothing."""

    async def _pass(self, session: Session, chain_id: bytes, number: int) -> None:
        await self._learner.learn(session.host_id, chain_id, number, Lesson())
