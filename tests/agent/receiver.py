"""A small receiver that speaks the real protocol over mTLS: takes, refuses, forgets, goes away."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

from chassis.server import Server
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.store.v1 import store_service_pb2 as store
from nightherd.store.v1.store_service_pb2_grpc import (
    StoreServiceServicer,
    add_StoreServiceServicer_to_server,
)
from tests.patience import patient


class Receiver(StoreServiceServicer):
    """Keeps what it takes by number, of one chain."""

    def __init__(self) -> None:
        self.batches: dict[int, pb.SealedBatch] = {}
        self.dropped: list[pb.Dropped] = []
        self.hellos: list[pb.Hello] = []
        self.refuse: set[int] = set()
        self.refused: list[int] = []
        self.acknowledge = True
        self.limits = pb.Limits(window=8)
        self.directive: pb.Directive | None = None
        self.arrived_s: list[float] = []
        self.resent = 0

    @property
    def next(self) -> int:
        gone = {n for drop in self.dropped for n in range(drop.first, drop.last + 1)}
        number = 1
        while number in self.batches or number in gone or number in self.refused:
            number += 1
        return number

    def forget_last(self, count: int) -> None:
        for number in sorted(self.batches)[-count:]:
            del self.batches[number]

    async def AppendBatches(self, requests, context) -> AsyncIterator[store.AppendBatchesResponse]:
        def say(**item):
            return store.AppendBatchesResponse(message=pb.ReceiverMessage(**item))

        async for request in requests:
            message = request.message
            kind = message.WhichOneof("item")
            if kind == "hello":
                self.hellos.append(message.hello)
                wanted = [
                    pb.Welcome.Wanted(chain_id=chain.chain_id, next=self.next)
                    for chain in message.hello.chains
                ]
                yield say(
                    welcome=pb.Welcome(wanted=wanted, limits=self.limits, directive=self.directive)
                )
                continue
            if kind == "dropped":
                self.dropped.append(message.dropped)
                chain_id, number = message.dropped.chain_id, message.dropped.last
            else:
                self.arrived_s.append(time.monotonic())
                header = pb.BatchHeader.FromString(message.batch.header)
                chain_id, number = header.chain_id, header.batch_number
                if number in self.refuse:
                    self.refused.append(number)
                    yield say(
                        rejection=pb.Rejection(
                            chain_id=chain_id,
                            batch_number=number,
                            reason=pb.Rejection.REASON_OVERSIZE,
                        )
                    )
                else:
                    self.resent += number in self.batches
                    self.batches[number] = message.batch
            if self.acknowledge:
                yield say(receipt=pb.Receipt(chain_id=chain_id, settled_through=self.next - 1))

    def serve(self, identity, address: str = "127.0.0.1:0") -> Server:
        return Server(
            address,
            identity,
            [store.DESCRIPTOR.services_by_name["StoreService"]],
            lambda server: add_StoreServiceServicer_to_server(self, server),
            drain_s=0.2,
            reflect=False,
        )

    async def until(self, true, seconds: float = 60) -> None:
        """Wait until `true()`; fail after `seconds`."""
        async with asyncio.timeout(patient(seconds)):
            while not true():
                await asyncio.sleep(0.02)


def assert_gapless(batches: dict[int, pb.SealedBatch]) -> None:
    """State that numbers run from 1 and every header names the hash of the one before."""
    assert sorted(batches) == list(range(1, len(batches) + 1))
    previous = b""
    for number in sorted(batches):
        header = pb.BatchHeader.FromString(batches[number].header)
        assert header.previous_hash == previous, number
        previous = hashlib.sha256(batches[number].header).digest()
