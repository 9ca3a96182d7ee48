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

WINDOW = 8
_METHOD = "/nightherd.store.v1.StoreService/AppendBatches"


def request(message: delivery.AgentMessage) -> bytes:
    """Return a message as it goes over the wire."""
    return api.AppendBatchesRequest(message=message).SerializeToString()


def request_of(batch: delivery.SealedBatch) -> bytes:
    """Return a batch as it goes over the wire."""
    return request(delivery.AgentMessage(batch=batch))


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
        """Connect, if it is not."""
        if not hasattr(self, "_call"):
            await self.connect()
        return self

    async def connect(self) -> None:
        """Connect and say Hello.

        Raises:
            grpc.aio.AioRpcError: The store did not take the stream.
        """
        credentials = self.identity.channel_credentials()
        self._channel = open_channel(self.address, credentials, "store")
        # Bytes in, bytes out: what the client does is not what is measured.
        self._call = self._channel.stream_stream(_METHOD)()
        self._sent: dict[int, float] = {}
        self._room = asyncio.Semaphore(WINDOW)
        hello = delivery.Hello(
            protocol_version=1,
            host_id=self.host_id,
            chains=[delivery.Hello.ChainHead(chain_id=self.chain_id, first=1)],
        )
        await self._call.write(request(delivery.AgentMessage(hello=hello)))
        await self._call.read()
        self._reading = asyncio.create_task(self._read())

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        self._reading.cancel()
        await self.close()

    async def close(self) -> None:
        """Hang up, also half-way."""
        self._call.cancel()
        await self._channel.close()

    async def _read(self) -> None:
        while True:
            message = api.AppendBatchesResponse.FromString(await self._call.read()).message
            if message.HasField("rejection"):
                raise RuntimeError(f"rejected: {message.rejection.detail}")
            if message.HasField("receipt"):
                now = time.monotonic()
                for number in range(self.settled + 1, message.receipt.settled_through + 1):
                    self.latencies_s.append(now - self._sent.pop(number))
                    self._room.release()
                self.settled = message.receipt.settled_through

    async def send(self, content: bytes, number: int) -> None:
        """Send a batch (see request_of) when the window has room."""
        await self._room.acquire()
        self._sent[number] = time.monotonic()
        await self._call.write(content)

    async def send_all(self, batches: Sequence[bytes], first: int) -> None:
        """Send batches numbered from `first`; return when all are settled."""
        for number, content in enumerate(batches, start=first):
            await self.send(content, number)
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
