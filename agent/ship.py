"""Shipping: one stream for each receiver, resumed for ever, never faster than it is told."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from grpc import aio

from agent.spool import Evicted, Spool
from agent.window import Window
from chassis import clock
from chassis.channel import Channel
from chassis.counters import Counter
from nightherd.detector.v1 import detector_service_pb2 as detector
from nightherd.detector.v1.detector_service_pb2_grpc import DetectorServiceStub
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import modeler_service_pb2 as modeler
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from nightherd.store.v1 import store_service_pb2 as store
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

log = structlog.get_logger()
shipped = Counter("nightherd_agent_batches_settled", "Batches that were settled", ["receiver"])
rejected = Counter("nightherd_agent_batches_rejected", "Batches that were refused", ["receiver"])

PROTOCOL_VERSION = 1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 12.8
WARN_S = 10.0
"""How often it is logged that a receiver is not reached."""
HELLO_TIMEOUT_S = 20.0
STEADY_S = 2.0
"""A stream that lasted this long begins the back-off anew."""
CERTIFICATE_CHECK_S = 30.0
CURSOR_SAVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """How one receiver is called."""

    name: str
    stub: Callable[[aio.Channel], Any]
    method: str
    request: Callable[..., Any]


STORE = Receiver("store", StoreServiceStub, "AppendBatches", store.AppendBatchesRequest)
DETECTOR = Receiver(
    "detector", DetectorServiceStub, "InspectBatches", detector.InspectBatchesRequest
)
MODELER = Receiver("modeler", ModelerServiceStub, "ObserveBatches", modeler.ObserveBatchesRequest)


class StreamEndedError(Exception):
    """The receiver ended the stream, or broke the protocol; begin another."""


class Shipper:
    """Ships one spool to one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        channel: Channel,
        spool: Spool,
        host_id: str,
        agent_version: str,
        on_directive: Callable[[pb.Directive], None],
        on_limits: Callable[[pb.Limits], None] = lambda _: None,
        on_given_up: Callable[[Evicted, str], None] = lambda _hole, _detail: None,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Nothing happens before `run`; `longest_pause_s` lies between two tries at most."""
        self._longest_pause_s = longest_pause_s
        self._on_limits, self._on_given_up = on_limits, on_given_up
        self._refused = 0
        """Highest number that is larger than this receiver takes, as far as that was told."""
        self._receiver, self._channel, self._spool = receiver, channel, spool
        self._host_id, self._agent_version = host_id, agent_version
        self._on_directive = on_directive
        self._more = asyncio.Event()
        self.connected = False
        self.reached = False
        """It has been connected once."""
        self.why = ""
        """Why the last stream ended, or none came about."""
        self.name = receiver.name
        self._saved_s = 0.0

    def wake(self) -> None:
        """There is more in the spool."""
        self._more.set()

    async def run(self) -> None:
        """Ship until cancelled."""
        pause_s, warned_s = FIRST_PAUSE_S, -math.inf
        while True:
            began = time.monotonic()
            try:
                await self._stream()
            except aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
            except (StreamEndedError, OSError, ValueError, asyncio.InvalidStateError) as error:
                reason = str(error) or type(error).__name__
            else:
                reason = "our certificate was renewed"
            lasted_s, was_connected = time.monotonic() - began, self.connected
            self.connected, self.why = False, reason
            if was_connected:
                log.info("stream ended", receiver=self.name, why=reason[:300])
            elif pause_s == FIRST_PAUSE_S or began - warned_s > WARN_S:
                warned_s = began
                log.warning("not reached", receiver=self.name, why=reason[:300])
            if was_connected and lasted_s > STEADY_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)
            pause_s = min(pause_s * 2, self._longest_pause_s)

    async def _stream(self) -> None:
        channel = self._channel.get()
        call = getattr(self._receiver.stub(channel), self._receiver.method)()
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                await self._write(call, pb.AgentMessage(hello=self._hello()))
                said = await self._read(call)
            if said.WhichOneof("item") != "welcome":
                raise StreamEndedError("the receiver did not say Welcome")
            window = Window(said.welcome.limits)
            self._on_limits(said.welcome.limits)
            if said.welcome.HasField("directive"):
                self._on_directive(said.welcome.directive)
            number = self._begin(said.welcome)
            self.connected = self.reached = True
            log.info("connected", receiver=self._receiver.name, next=number)
            reading = asyncio.create_task(self._receipts(call, window))
            writing = asyncio.create_task(self._batches(call, window, number))
            renewal = asyncio.create_task(self._renewed(channel))
            tasks = {reading, writing, renewal}
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError, Exception):
                        await task
        finally:
            call.cancel()

    def _hello(self) -> pb.Hello:
        spool = self._spool
        head = pb.Hello.ChainHead(
            chain_id=spool.chain_id, first=spool.first, last=spool.link.number
        )
        return pb.Hello(
            protocol_version=PROTOCOL_VERSION,
            agent_version=self._agent_version,
            host_id=self._host_id,
            chains=[head],
            agent_time=clock.to_timestamp(clock.wall_ns()),
        )

    def _begin(self, welcome: pb.Welcome) -> int:
        """Return the number to go on with.

        The lower of what the receiver wants and what it is known to have from us: a receiver that
        lost data asks for less, and one that knows a copy of this spool asks for more.
        """
        wanted = 1
        for each in welcome.wanted:
            if each.chain_id == self._spool.chain_id:
                wanted = max(each.next, 1)
        number = min(wanted, self._spool.cursors[self._receiver.name] + 1)
        self._spool.rewind(self._receiver.name, number)
        return number

    async def _batches(self, call: Any, window: Window, number: int) -> None:
        while True:
            batch = self._spool.read(number)
            if batch is not None:
                await window.enter(number)
                if (count := window.too_large(batch)) is None:
                    await self._write(call, pb.AgentMessage(batch=batch))
                else:
                    await self._give_up(call, self._too_large(number, count, batch))
                number += 1
            elif hole := self._spool.missing(self._receiver.name, number):
                await window.enter(hole.last)
                await self._give_up(call, hole)
                number = hole.last + 1
            else:
                self._more.clear()
                if number > self._spool.link.number:
                    await self._more.wait()

    def _too_large(self, number: int, count: int, batch: pb.SealedBatch) -> Evicted:
        """Return a batch as a hole for a receiver that does not take it, and tell it once."""
        header = pb.BatchHeader.FromString(batch.header)
        hole = Evicted(
            number,
            number,
            count,
            clock.from_timestamp(header.first_event_time),
            clock.from_timestamp(header.last_event_time),
            events.Gap.CAUSE_GIVEN_UP,
        )
        if number > self._refused:
            self._refused = number
            self._on_given_up(hole, f"Batch {number} is larger than the {self.name} takes.")
        return hole

    async def _give_up(self, call: Any, hole: Evicted) -> None:
        dropped = pb.Dropped(
            chain_id=self._spool.chain_id,
            first=hole.first,
            last=hole.last,
            event_count=hole.event_count,
            cause=hole.cause,
        )
        log.warning(
            "batches given up",
            receiver=self._receiver.name,
            first=hole.first,
            last=hole.last,
            events=hole.event_count,
            cause=events.Gap.Cause.Name(hole.cause),
        )
        await self._write(call, pb.AgentMessage(dropped=dropped))

    async def _receipts(self, call: Any, window: Window) -> None:
        name = self._receiver.name
        while True:
            said = await self._read(call)
            kind = said.WhichOneof("item")
            if kind == "receipt":
                before = self._spool.cursors[name]
                self._spool.settled(name, said.receipt.settled_through)
                shipped.labels(name).inc(max(self._spool.cursors[name] - before, 0))
                window.leave(said.receipt.settled_through)
                self._save()
            elif kind == "rejection":
                rejected.labels(name).inc()
                log.error(
                    "batch rejected",
                    receiver=name,
                    number=said.rejection.batch_number,
                    reason=pb.Rejection.Reason.Name(said.rejection.reason),
                    detail=said.rejection.detail[:300],
                )
            elif kind == "directive":
                self._on_directive(said.directive)

    def _save(self) -> None:
        now = time.monotonic()
        if now - self._saved_s >= CURSOR_SAVE_S:
            self._saved_s = now
            with suppress(OSError):  # costs resends only
                self._spool.save_cursors()

    async def _renewed(self, channel: aio.Channel) -> None:
        """Return when our certificate was renewed: a new stream must use it."""
        while self._channel.get() is channel:  # noqa: ASYNC110  (files tell nobody)
            await asyncio.sleep(CERTIFICATE_CHECK_S)

    async def _write(self, call: Any, message: pb.AgentMessage) -> None:
        await call.write(self._receiver.request(message=message))

    async def _read(self, call: Any) -> pb.ReceiverMessage:
        response = await call.read()
        if response is aio.EOF:
            # Raises the status when it is an error.
            code = await call.code()
            raise StreamEndedError(f"{code.name}: {await call.details()}")
        message: pb.ReceiverMessage = response.message
        return message
