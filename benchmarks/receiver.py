"""A receiver that acknowledges and keeps: `python -m benchmarks.receiver TLS ADDRESS FILE`.

It runs in a process of its own, so that what it costs is not counted as the agent's. Batches land
in FILE, each as four bytes of length and the sealed batch.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from chassis.server import Server
from chassis.signals import until_terminated
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as store
from nightherd.store.v1.store_service_pb2_grpc import (
    StoreServiceServicer,
    add_StoreServiceServicer_to_server,
)

_WINDOW = 8
_LENGTH_BYTES = 4


class Keeper(StoreServiceServicer):
    """Takes batches of any chain in order, and settles each at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._settled: dict[bytes, int] = defaultdict(int)

    async def AppendBatches(self, requests, context) -> AsyncIterator[store.AppendBatchesResponse]:  # noqa: ARG002, N802
        async for request in requests:
            yield store.AppendBatchesResponse(message=self._answer(request.message))

    def _answer(self, message: delivery.AgentMessage) -> delivery.ReceiverMessage:
        kind = message.WhichOneof("item")
        if kind == "hello":
            return delivery.ReceiverMessage(
                welcome=delivery.Welcome(
                    wanted=[
                        delivery.Welcome.Wanted(
                            chain_id=chain.chain_id, next=self._settled[chain.chain_id] + 1
                        )
                        for chain in message.hello.chains
                    ],
                    limits=delivery.Limits(window=_WINDOW),
                )
            )
        if kind == "dropped":
            chain_id, number = message.dropped.chain_id, message.dropped.last
        else:
            header = delivery.BatchHeader.FromString(message.batch.header)
            chain_id, number = header.chain_id, header.batch_number
            if number > self._settled[chain_id]:
                sealed = message.batch.SerializeToString()
                self._file.write(len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)
                self._file.flush()
        self._settled[chain_id] = max(self._settled[chain_id], number)
        return delivery.ReceiverMessage(
            receipt=delivery.Receipt(chain_id=chain_id, settled_through=self._settled[chain_id])
        )


class Received:
    """Reads what a receiver keeps, as it comes."""

    def __init__(self, file: Path) -> None:
        file.touch()
        self._file = file.open("rb")
        self._rest = b""

    def more(self) -> Iterator[tuple[events.Image, events.Event]]:
        """Yield the events that came since the last call, each with its image (may be empty)."""
        self._rest += self._file.read()
        while len(self._rest) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._rest[:_LENGTH_BYTES], "big")
            if len(self._rest) < end:
                return
            batch = delivery.SealedBatch.FromString(self._rest[_LENGTH_BYTES:end])
            self._rest = self._rest[end:]
            body = events.EventBatch.FromString(zstandard.ZstdDecompressor().decompress(batch.body))
            nobody = events.Image()
            for event in body.events:
                yield (body.images[event.actor] if event.HasField("actor") else nobody), event

    def close(self) -> None:
        self._file.close()


async def serve(tls: Path, address: str, keeper: Keeper) -> None:
    """Serve until SIGTERM."""
    async with Server(
        address,
        Identity(tls),
        [store.DESCRIPTOR.services_by_name["StoreService"]],
        lambda server: add_StoreServiceServicer_to_server(keeper, server),
        drain_s=0.2,
        reflect=False,
    ):
        await until_terminated()


def main() -> None:
    """Do what the arguments say."""
    tls, address, file = sys.argv[1:]
    with Path(file).open("ab") as kept:
        asyncio.run(serve(Path(tls), address, Keeper(kept)))


if __name__ == "__main__":
    main()
