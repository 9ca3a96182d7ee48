"""The detector's RPC: unpack, call, pack."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from chassis.tls import peer
from delivery.checks import Limits
from delivery.receiver import receive
from nightherd.detector.v1 import detector_service_pb2 as pb
from nightherd.detector.v1.detector_service_pb2_grpc import DetectorServiceServicer
from nightherd.event.v1.delivery_pb2 import AgentMessage
from services.detector.inspecting import Stream


class Servicer(DetectorServiceServicer):
    """nightherd.detector.v1.DetectorService."""

    def __init__(self, opened: Callable[[], Stream]) -> None:
        """Serve with `opened`, which begins a stream."""
        self._opened = opened

    async def InspectBatches(
        self, request_iterator: AsyncIterator[pb.InspectBatchesRequest], context: Any
    ) -> AsyncIterator[pb.InspectBatchesResponse]:
        """Judge an agent's batches."""
        messages = _unwrapped(request_iterator)
        async for said in receive(messages, peer(context), self._opened(), Limits(), decode=True):
            yield pb.InspectBatchesResponse(message=said)


async def _unwrapped(
    requests: AsyncIterator[pb.InspectBatchesRequest],
) -> AsyncIterator[AgentMessage]:
    async for request in requests:
        yield request.message
