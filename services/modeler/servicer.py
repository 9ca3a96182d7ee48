"""The modeler's RPCs: unpack, call, pack."""

from collections.abc import AsyncIterator
from typing import Any

from behaviour.capabilities import capabilities
from chassis.mongo import mongo_errors
from chassis.tls import peer
from delivery.checks import Limits
from delivery.receiver import receive
from nightherd.event.v1.delivery_pb2 import AgentMessage
from nightherd.modeler.v1 import modeler_service_pb2 as pb
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceServicer
from services.modeler import wire
from services.modeler.domain.lifecycle import Rule
from services.modeler.knowledge import Knowledge, paging
from services.modeler.receiving import Receiving
from services.modeler.repository.detectors import Detectors
from services.modeler.repository.models import Models
from services.modeler.repository.sights import Sights
from services.modeler.watching import Watching


class Servicer(ModelerServiceServicer):
    """nightherd.modeler.v1.ModelerService."""

    def __init__(
        self,
        receiving: Receiving,
        knowledge: Knowledge,
        watching: Watching,
        models: Models,
        sights: Sights,
        detectors: Detectors,
        rule: Rule,
    ) -> None:
        """Serve with these."""
        self._receiving, self._knowledge, self._watching = receiving, knowledge, watching
        self._models, self._sights, self._detectors = models, sights, detectors
        self._rule = rule

    async def ObserveBatches(
        self, request_iterator: AsyncIterator[pb.ObserveBatchesRequest], context: Any
    ) -> AsyncIterator[pb.ObserveBatchesResponse]:
        """Learn from an agent's batches."""
        messages = _unwrapped(request_iterator)
        async for said in receive(messages, peer(context), self._receiving, Limits(), decode=True):
            yield pb.ObserveBatchesResponse(message=said)

    async def WatchModels(
        self, request_iterator: AsyncIterator[pb.WatchModelsRequest], context: Any
    ) -> AsyncIterator[pb.WatchModelsResponse]:
        """Tell a detector what is normal."""
        async for response in self._watching.watch(aiter(request_iterator)):
            yield response

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        """Return a page of models."""
        async with mongo_errors():
            portraits, total = await self._knowledge.page(request)
        return wire.page(portraits, total, self._rule)

    async def ListHostServices(
        self, request: pb.ListHostServicesRequest, context: Any
    ) -> pb.ListHostServicesResponse:
        """Return a page of hosts with their services."""
        offset, limit = paging(request.offset, request.limit)
        async with mongo_errors():
            page, total = await self._sights.hosts(request.host_ids, offset, limit)
        return pb.ListHostServicesResponse(
            hosts=[wire.host_services(host) for host in page], total_count=total
        )

    async def SetModelState(
        self, request: pb.SetModelStateRequest, context: Any
    ) -> pb.SetModelStateResponse:
        """Do to a model what a person wants."""
        async with mongo_errors():
            portrait = await self._knowledge.set_state(
                request.herd, request.service, request.state, request.changed_by
            )
        return pb.SetModelStateResponse(model=wire.summary(portrait, self._rule))

    async def ListCapabilities(
        self, request: pb.ListCapabilitiesRequest, context: Any
    ) -> pb.ListCapabilitiesResponse:
        """Return all capabilities."""
        return pb.ListCapabilitiesResponse(
            capabilities=[wire.capability(entry) for entry in capabilities()]
        )

    async def ListDetectors(
        self, request: pb.ListDetectorsRequest, context: Any
    ) -> pb.ListDetectorsResponse:
        """Return who watches."""
        async with mongo_errors():
            connected = await self._detectors.connected()
            revision = await self._models.revision()
        return pb.ListDetectorsResponse(
            detectors=[
                pb.ListDetectorsResponse.Detector(detector_id=name, applied_revision=applied)
                for name, applied in connected
            ],
            revision=revision,
        )


async def _unwrapped(
    requests: AsyncIterator[pb.ObserveBatchesRequest],
) -> AsyncIterator[AgentMessage]:
    async for request in requests:
        yield request.message
