"""The stream loop of a receiver: Hello, Welcome, batches in a window, receipts in order."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from chassis import clock
from chassis.counters import Counter
from chassis.errors import InvalidArgumentError, PermissionDeniedError
from chassis.tls import Peer
from delivery.checks import Checked, Limits, RejectedError, check
from nightherd.event.v1 import delivery_pb2 as pb

PROTOCOL_VERSION = 1
MAX_CHAINS = 64

log = structlog.get_logger()
batches_total = Counter("nightherd_batches", "Batches that came", ["outcome"])
events_total = Counter("nightherd_events", "Events in batches that were taken")


class ProtocolError(InvalidArgumentError):
    """The stream does not follow the batch protocol."""

    reason = "PROTOCOL_VIOLATION"


class ForeignHelloError(PermissionDeniedError):
    """The Hello names another host than the certificate."""

    reason = "FOREIGN_HELLO"


@dataclass(frozen=True, slots=True)
class Session:
    """One open stream: who speaks, and for which host."""

    peer: Peer
    host_id: str
    hello: pb.Hello


class Handler(Protocol):
    """What a service does with a stream.

    May raise NightherdError: the stream ends with it, nothing is acknowledged, and the agent
    sends again.
    """

    async def welcome(self, session: Session) -> Mapping[bytes, int]:
        """Return the next wanted number for each chain of the Hello."""

    async def take(self, session: Session, checked: Checked) -> None:
        """Settle one batch: return when it is durable. Called for several at once, in order."""

    async def reject(self, session: Session, batch: pb.SealedBatch, why: RejectedError) -> None:
        """Set a batch aside. Returns when that is durable."""

    async def drop(self, session: Session, dropped: pb.Dropped) -> None:
        """Note batches that will never come."""

    async def alive(self, session: Session) -> None:
        """Called every `ALIVE_S` while the stream is open."""


ALIVE_S = 30.0


@dataclass(slots=True)
class _Waiting:
    """A message under way: what to say once `task` is done."""

    chain_id: bytes
    number: int
    task: "asyncio.Task[None]"
    rejection: pb.Rejection | None = None


async def receive(
    messages: AsyncIterable[pb.AgentMessage],
    peer: Peer,
    handler: Handler,
    limits: Limits,
    *,
    decode: bool = False,
) -> AsyncIterator[pb.ReceiverMessage]:
    """Serve one agent's stream until it ends.

    Args:
        messages: what the agent says.
        peer: whose certificate the stream came with.
        handler: what to do with it.
        limits: what is taken; told in the Welcome.
        decode: see that bodies are EventBatches before they are handed on.

    Raises:
        ProtocolError: the first message is no Hello, or of an unknown version.
        ForeignHelloError: the Hello speaks for another host.
        NightherdError: what the handler raised.
    """
    incoming = aiter(messages)
    session = await _hello(incoming, peer)
    wanted = await handler.welcome(session)
    yield _welcome(wanted, limits)
    queue: asyncio.Queue[_Waiting | None] = asyncio.Queue(limits.window)
    reader = asyncio.create_task(_read(incoming, session, handler, limits, queue, decode=decode))
    beat = asyncio.create_task(_beat(session, handler))
    try:
        while (item := await _next(queue, reader)) is not None:
            await item.task
            if item.rejection is not None:
                yield pb.ReceiverMessage(rejection=item.rejection)
            yield pb.ReceiverMessage(
                receipt=pb.Receipt(chain_id=item.chain_id, settled_through=item.number)
            )
        await reader
    finally:
        for task in (reader, beat):
            task.cancel()
        while not queue.empty():
            if (left := queue.get_nowait()) is not None:
                left.task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await left.task
        for task in (reader, beat):
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _next(
    queue: "asyncio.Queue[_Waiting | None]", reader: "asyncio.Task[None]"
) -> _Waiting | None:
    """Return what comes next; when the reader failed, raise its error instead of waiting."""
    getting = asyncio.ensure_future(queue.get())
    done, _ = await asyncio.wait({getting, reader}, return_when=asyncio.FIRST_COMPLETED)
    if getting in done:
        return getting.result()
    if queue.empty():
        getting.cancel()
        await reader  # raises what ended it
        return None
    return await getting


async def _hello(incoming: AsyncIterator[pb.AgentMessage], peer: Peer) -> Session:
    try:
        first = await anext(incoming)
    except StopAsyncIteration:
        raise ProtocolError("the stream ended before a Hello") from None
    if first.WhichOneof("item") != "hello":
        raise ProtocolError("the first message must be a Hello")
    hello = first.hello
    if hello.protocol_version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"protocol version {hello.protocol_version} is not spoken here, "
            f"only {PROTOCOL_VERSION}: update the older side"
        )
    if len(hello.chains) > MAX_CHAINS:
        raise ProtocolError(f"a Hello names at most {MAX_CHAINS} chains")
    if peer.role != "importer" and hello.host_id != peer.host_id:
        raise ForeignHelloError("the Hello names another host than the certificate")
    return Session(peer, hello.host_id, hello)


def _welcome(wanted: Mapping[bytes, int], limits: Limits) -> pb.ReceiverMessage:
    return pb.ReceiverMessage(
        welcome=pb.Welcome(
            wanted=[pb.Welcome.Wanted(chain_id=c, next=n) for c, n in wanted.items()],
            limits=pb.Limits(
                body_size_bytes=limits.body_size_bytes,
                arguments_size_bytes=limits.arguments_size_bytes,
                batches_per_second=limits.batches_per_second,
                window=limits.window,
            ),
            server_time=clock.to_timestamp(clock.wall_ns()),
        )
    )


async def _beat(session: Session, handler: Handler) -> None:
    while True:
        await asyncio.sleep(ALIVE_S)
        await handler.alive(session)


async def _read(
    incoming: AsyncIterator[pb.AgentMessage],
    session: Session,
    handler: Handler,
    limits: Limits,
    queue: "asyncio.Queue[_Waiting | None]",
    *,
    decode: bool,
) -> None:
    """Turn messages into tasks, as fast as the window and the rate allow."""
    pace = _Pace(limits.batches_per_second)
    async for message in incoming:
        kind = message.WhichOneof("item")
        if kind == "batch":
            await pace.wait()
            await queue.put(_take(message.batch, session, handler, limits, decode=decode))
        elif kind == "dropped":
            dropped = message.dropped
            task = asyncio.create_task(handler.drop(session, dropped))
            await queue.put(_Waiting(dropped.chain_id, dropped.last, task))
        else:
            raise ProtocolError("after the Hello only batches and Dropped may come")
    await queue.put(None)


def _take(
    batch: pb.SealedBatch, session: Session, handler: Handler, limits: Limits, *, decode: bool
) -> _Waiting:
    try:
        checked = check(batch, session.peer, limits, decode=decode)
        checked.require_host(session.host_id)
    except RejectedError as why:
        batches_total.labels("rejected").inc()
        header = why.header or pb.BatchHeader()
        log.warning(
            "batch rejected", host=session.host_id, number=header.batch_number, why=str(why)
        )
        rejection = pb.Rejection(
            chain_id=header.chain_id,
            batch_number=header.batch_number,
            reason=why.reason,
            detail=str(why),
        )
        task = asyncio.create_task(handler.reject(session, batch, why))
        return _Waiting(header.chain_id, header.batch_number, task, rejection)
    batches_total.labels("taken").inc()
    events_total.inc(checked.header.event_count)
    header = checked.header
    return _Waiting(
        header.chain_id, header.batch_number, asyncio.create_task(handler.take(session, checked))
    )


class _Pace:
    """Slows reading down to a rate, so that one host cannot take a receiver for itself."""

    def __init__(self, per_second: int) -> None:
        self._gap_s = 1 / per_second
        self._burst_s = 1.0
        self._due = time.monotonic()

    async def wait(self) -> None:
        now = time.monotonic()
        self._due = max(self._due, now - self._burst_s) + self._gap_s
        if self._due > now:
            await asyncio.sleep(self._due - now)
