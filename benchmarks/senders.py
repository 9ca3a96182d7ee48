"""Streams that send sealed batches as agents do, a window ahead of the receipts."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from chassis.channel import open_channel
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.store.v1 import store_service_pb2 as api
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

WINDOW = 8


@dataclass
class Sender:
    """One host's stream."""

    address: str
    identity: Identity
    host_id: str
    chain_id: bytes
    latencies_s: list[float] = field(default_factory=list)
    """From the write of each batch to the receipt that settles it."""
    settled: int = 0

    async def __aenter__(self) -> Self:
        """Connect and say Hello."""
        credentials = self.identity.channel_credentials()
        self._channel = open_channel(self.address, credentials, "store")
        self._call = StoreServiceStub(self._channel).AppendBatches()
        self._sent: dict[int, float] = {}
        self._room = asyncio.Semaphore(WINDOW)
        hello = delivery.Hello(
            protocol_version=1,
            host_id=self.host_id,
            chains=[delivery.Hello.ChainHead(chain_id=self.chain_id, first=1)],
        )
        await self._write(delivery.AgentMessage(hello=hello))
        await self._call.read()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        self._reading.cancel()
        self._call.cancel()
        await self._channel.close()

    async def _write(self, message: delivery.AgentMessage) -> None:
        await self._call.write(api.AppendBatchesRequest(message=message))

    async def _read(self) -> None:
        while True:
            message = (await self._call.read()).message
            if message.HasField("rejection"):
                raise RuntimeError(f"rejected: {message.rejection.detail}")
            if message.HasField("receipt"):
                now = time.monotonic()
                for number in range(self.settled + 1, message.receipt.settled_through + 1):
                    self.latencies_s.append(now - self._sent.pop(number))
                    self._room.release()
                self.settled = message.receipt.settled_through

    async def send(self, batch: delivery.SealedBatch, number: int) -> None:
        """Send a batch when the window has room."""
        await self._room.acquire()
        self._sent[number] = time.monotonic()
        await self._write(delivery.AgentMessage(batch=batch))

    async def send_all(self, batches: Sequence[delivery.SealedBatch], first: int) -> None:
        """Send batches numbered from `first`; return when all are settled."""
        for number, batch in enumerate(batches, start=first):
            await self.send(batch, number)
        await self.until_settled(first + len(batches) - 1)

    async def until_settled(self, number: int) -> None:
        """Wait for the receipt of a number.

        Raises:
            RuntimeError: A batch was rejected, or the stream broke.
        """
        while self.settled < number:
            if self._reading.done():
                self._reading.result()
            await asyncio.sleep(0.002)
