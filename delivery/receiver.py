"""The stream loop of a receiver: Hello, Welcome, batches in a window, receipts in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from chassis.counters import Counter
from chassis.errors import NightherdError
from chassis.tls import Peer
from delivery.checks import CHAIN_ID_BYTES, MAX_NUMBER, Limits, RejectedError, check
from delivery.pace import Pace, Paces
from delivery.session import (
    ALIVE_S,
    NOT_A_MESSAGE,
    PROTOCOL_VERSION,
    ForeignHelloError,
    Handler,
    ProtocolError,
    Session,
    StoppingError,
    hello,
    welcome,
)
from nightherd.event.v1 import delivery_pb2 as pb

__all__ = [
    "PROTOCOL_VERSION",
    "ForeignHelloError",
    "Handler",
    "Paces",
    "ProtocolError",
    "Session",
    "StoppingError",
    "receive",
]

log = structlog.get_logger()
batches_total = Counter("nightherd_batches", "Batches that came", ["outcome"])
events_total = Counter("nightherd_events", "Events in batches that were taken")


@dataclass(slots=True)
class _Waiting:
    """What to say once `task` is done: `said`, then a receipt if it `settles` anything."""

    chain_id: bytes
    number: int
    task: "asyncio.Future[None]"
    said: pb.ReceiverMessage | None = None
    settles: bool = True

    def is_told_by(self, later: "_Waiting") -> bool:
        """Whether the next is settled as well, so that its receipt says it of both."""
        return (
            later.task.done()
            and not later.task.cancelled()
            and later.task.exception() is None
            and self.said is None
            and later.said is None
            and self.chain_id == later.chain_id
            and self.number < later.number
        )


async def receive(
    messages: AsyncIterable[pb.AgentMessage],
    peer: Peer,
    handler: Handler,
    limits: Limits,
    *,
    decode: bool = False,
    paces: Paces | None = None,
    stopping: asyncio.Event | None = None,
    alive_s: float = ALIVE_S,
) -> AsyncIterator[pb.ReceiverMessage]:
    """Serve one agent's stream until it ends.

    Args:
        messages: what the agent says.
        peer: whose certificate the stream came with.
        handler: what to do with it.
        limits: what is taken; told in the Welcome.
        decode: see that bodies are EventBatches before they are handed on.
        paces: shared by all streams of a server, so that a host gains nothing by opening several.
        alive_s: how often the handler hears that the agent is there, and says what it is asked.
        stopping: when set, no more is read; what was read is settled and the stream ends.

    Raises:
        ProtocolError: the first message is no Hello, of an unknown version, or a later one is
            nothing that may come.
        ForeignHelloError: the Hello speaks for another host.
        StoppingError: `stopping` was set; another server, or this one later, goes on.
        NightherdError: what the handler raised.
    """
    stopping = stopping or asyncio.Event()
    incoming = aiter(messages)
    session = await hello(incoming, peer)
    wanted = await handler.welcome(session)
    asked = await handler.alive(session)
    yield welcome(wanted, limits, asked)
    pace = (paces or Paces(limits.batches_per_second)).of(session.host_id)
    reader = _Reader(session, handler, limits, pace, wanted, decode=decode)
    reading = asyncio.create_task(reader.run(incoming))
    beat = asyncio.create_task(_beat(session, handler, reader, asked, alive_s))
    end = asyncio.create_task(_end(stopping, reading))
    try:
        while item := await reader.settled():
            if item.said is not None:
                yield item.said
            if not item.settles:
                continue
            yield pb.ReceiverMessage(
                receipt=pb.Receipt(chain_id=item.chain_id, settled_through=item.number)
            )
        if stopping.is_set():
            raise StoppingError("the server is stopping; connect again")
        await reading  # raises what ended it, if it was not the agent
    finally:
        # Nobody hears a receipt any more; what is not settled yet will be sent again.
        await _cancelled(reading, beat, end, *reader.pending)


async def _cancelled(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task


async def _end(stopping: asyncio.Event, reading: "asyncio.Future[None]") -> None:
    await stopping.wait()
    reading.cancel()


async def _beat(
    session: Session,
    handler: Handler,
    reader: "_Reader",
    asked: pb.Directive | None,
    alive_s: float,
) -> None:
    while True:
        await asyncio.sleep(alive_s)
        with suppress(NightherdError):  # the next beat may do better
            before, asked = asked, await handler.alive(session)
            if asked is not None and asked != before:
                reader.say(pb.ReceiverMessage(directive=asked))


class _Reader:
    """Turns messages into tasks, in order, as fast as the window and the rate allow."""

    def __init__(
        self,
        session: Session,
        handler: Handler,
        limits: Limits,
        pace: Pace,
        wanted: Mapping[bytes, int],
        *,
        decode: bool,
    ) -> None:
        self._session, self._handler, self._limits = session, handler, limits
        self._pace, self._decode = pace, decode
        # Where the next batch belongs if it cannot say so itself.
        self._place: tuple[bytes, int] = next(iter(wanted.items()), (b"", 0))
        self._window = asyncio.Semaphore(limits.window)
        self._queue: deque[_Waiting | None] = deque()
        self._came = asyncio.Event()
        self.pending: set[asyncio.Future[None]] = set()

    async def run(self, incoming: AsyncIterator[pb.AgentMessage]) -> None:
        """Read until the agent ends the stream. `None` ends the queue, whatever happens."""
        try:
            async for message in incoming:
                await self._one(message)
        except DecodeError:
            raise ProtocolError(NOT_A_MESSAGE) from None
        finally:
            self._queue.append(None)
            self._came.set()

    async def settled(self) -> _Waiting | None:
        """Return what is settled next, the last of several that one receipt tells; None: no more.

        Raises:
            NightherdError: it could not be settled.
        """
        while not self._queue:
            self._came.clear()
            await self._came.wait()
        item = self._queue.popleft()
        if item is None:
            return None
        await item.task
        if item.settles:
            self._window.release()
        while self._queue and (later := self._queue[0]) is not None and item.is_told_by(later):
            self._window.release()
            item = later
            self._queue.popleft()
        return item

    def say(self, message: pb.ReceiverMessage) -> None:
        """Say something that is no answer to a batch."""
        self._queue.append(_Waiting(b"", 0, _done(), message, settles=False))
        self._came.set()

    async def _one(self, message: pb.AgentMessage) -> None:
        kind = message.WhichOneof("item")
        if kind == "batch":
            await self._pace.wait()
            await self._window.acquire()
            await self._batch(message.batch)
        elif kind == "dropped":
            await self._window.acquire()
            await self._dropped(message.dropped)
        else:
            raise ProtocolError("after the Hello only batches and Dropped may come")

    async def _batch(self, batch: pb.SealedBatch) -> None:
        try:
            checked = check(batch, self._session.peer, self._limits, decode=self._decode)
            checked.require_host(self._session.host_id)
        except RejectedError as why:
            await self._rejected(batch, why)
            return
        batches_total.labels("taken").inc()
        events_total.inc(checked.header.event_count)
        chain_id, number = checked.header.chain_id, checked.header.batch_number
        task = asyncio.ensure_future(self._handler.take(self._session, checked))
        self.pending.add(task)
        task.add_done_callback(self._finished)
        self._put(_Waiting(chain_id, number, task))

    def _finished(self, task: "asyncio.Future[None]") -> None:
        self.pending.discard(task)
        if not task.cancelled():
            # The first failure ends the stream; nobody will ask for the others.
            task.exception()

    async def _rejected(self, batch: pb.SealedBatch, why: RejectedError) -> None:
        """Set aside in order: a number settles only after all before it."""
        batches_total.labels("rejected").inc()
        said = why.header or pb.BatchHeader()
        if len(said.chain_id) != CHAIN_ID_BYTES or not 1 <= said.batch_number <= MAX_NUMBER:
            # It does not say where it belongs. Batches come in order, so it is the next one;
            # without a number its sender would send it for ever.
            said.host_id = self._session.host_id
            said.chain_id, said.batch_number = self._place
        why.header = said
        chain_id, number = said.chain_id, said.batch_number
        log.warning("batch rejected", host=self._session.host_id, number=number, why=str(why))
        rejection = pb.Rejection(
            chain_id=chain_id, batch_number=number, reason=why.reason, detail=str(why)
        )
        await self._settled()
        await self._handler.reject(self._session, batch, why)
        answer = pb.ReceiverMessage(rejection=rejection)
        self._put(_Waiting(chain_id, number, _done(), answer))

    async def _dropped(self, dropped: pb.Dropped) -> None:
        if (
            len(dropped.chain_id) != CHAIN_ID_BYTES
            or not 1 <= dropped.first <= dropped.last <= MAX_NUMBER
            or dropped.event_count < 0
        ):
            raise ProtocolError("a Dropped names a chain, a first and a last number")
        await self._settled()
        await self._handler.drop(self._session, dropped)
        self._put(_Waiting(dropped.chain_id, dropped.last, _done()))

    async def _settled(self) -> None:
        """Return when all that was taken is settled; raise what prevented it."""
        if self.pending:
            await asyncio.gather(*self.pending)

    def _put(self, item: _Waiting) -> None:
        self._place = (item.chain_id, item.number + 1)
        self._queue.append(item)
        self._came.set()


def _done() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
