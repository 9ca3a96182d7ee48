"""The store's RPCs: unpack, call, pack."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from chassis.mongo import mongo_errors
from chassis.tls import peer
from delivery.checks import Limits
from delivery.receiver import Paces, receive
from nightherd.event.v1.delivery_pb2 import AgentMessage
from nightherd.store.v1 import store_service_pb2 as pb
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceServicer
from services.store.directing import Directing
from services.store.erasing import Erasing
from services.store.events import Events
from services.store.exporting import Exporting
from services.store.incidents import IncidentQuestions
from services.store.questions import Questions
from services.store.receiving import Receiving
from services.store.repository.filters import QueryError
from services.store.repository.findings import Findings

MAX_FINDINGS = 1000


class Servicer(StoreServiceServicer):
    """nightherd.store.v1.StoreService."""

    def __init__(
        self,
        receiving: Receiving,
        findings: Findings,
        questions: Questions,
        incidents: IncidentQuestions,
        events: Events,
        exporting: Exporting,
        erasing: Erasing,
        directing: Directing,
    ) -> None:
        """Serve with these."""
        self._erasing, self._directing = erasing, directing
        self._incidents = incidents
        self._receiving, self._findings, self._questions = receiving, findings, questions
        self._events, self._exporting = events, exporting
        self._limits = Limits()
        self._paces = Paces(self._limits.batches_per_second)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Settle what was read and end the agents' streams, which would never end by themselves."""
        self._stopping.set()

    async def AppendBatches(
        self, request_iterator: AsyncIterator[pb.AppendBatchesRequest], context: Any
    ) -> AsyncIterator[pb.AppendBatchesResponse]:
        """Keep an agent's batches."""
        messages = _unwrapped(request_iterator)
        stream = receive(
            messages,
            peer(context),
            self._receiving,
            self._limits,
            paces=self._paces,
            stopping=self._stopping,
        )
        async for said in stream:
            yield pb.AppendBatchesResponse(message=said)

    async def RecordFindings(
        self, request: pb.RecordFindingsRequest, context: Any
    ) -> pb.RecordFindingsResponse:
        """Record what a detector found."""
        if len(request.findings) > MAX_FINDINGS:
            raise QueryError(f"at most {MAX_FINDINGS} findings in one request")
        async with mongo_errors():
            return pb.RecordFindingsResponse(
                new_count=await self._findings.record(request.findings)
            )

    async def ListActivities(
        self, request: pb.ListActivitiesRequest, context: Any
    ) -> pb.ListActivitiesResponse:
        """Return a page of activities."""
        async with mongo_errors():
            page, total = await self._questions.findings("activity", request.filter, request.paging)
        return pb.ListActivitiesResponse(activities=page, total_count=total)

    async def StreamActivities(
        self, request: pb.StreamActivitiesRequest, context: Any
    ) -> AsyncIterator[pb.StreamActivitiesResponse]:
        """Yield all activities that match."""
        async with mongo_errors():
            async for part in self._questions.all_findings(
                "activity", request.filter, request.paging
            ):
                yield pb.StreamActivitiesResponse(activities=part)

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: Any
    ) -> pb.ListAlertsResponse:
        """Return a page of alerts."""
        async with mongo_errors():
            page, total = await self._questions.findings("alert", request.filter, request.paging)
        return pb.ListAlertsResponse(alerts=page, total_count=total)

    async def StreamAlerts(
        self, request: pb.StreamAlertsRequest, context: Any
    ) -> AsyncIterator[pb.StreamAlertsResponse]:
        """Yield all alerts that match."""
        async with mongo_errors():
            async for part in self._questions.all_findings("alert", request.filter, request.paging):
                yield pb.StreamAlertsResponse(alerts=part)

    async def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: Any
    ) -> pb.ListIncidentsResponse:
        """Return a page of incidents."""
        async with mongo_errors():
            return await self._incidents.page(request)

    async def StreamIncidents(
        self, request: pb.StreamIncidentsRequest, context: Any
    ) -> AsyncIterator[pb.StreamIncidentsResponse]:
        """Yield all incidents that match."""
        async with mongo_errors():
            async for part in self._incidents.all(request.filter):
                yield part

    async def GetIncident(
        self, request: pb.GetIncidentRequest, context: Any
    ) -> pb.GetIncidentResponse:
        """Return one incident."""
        async with mongo_errors():
            return pb.GetIncidentResponse(incident=await self._incidents.one(request.incident_id))

    async def AcknowledgeIncident(
        self, request: pb.AcknowledgeIncidentRequest, context: Any
    ) -> pb.AcknowledgeIncidentResponse:
        """Note that somebody has seen an incident."""
        async with mongo_errors():
            seen = await self._incidents.acknowledge(request)
            return pb.AcknowledgeIncidentResponse(incident=seen)

    async def ListHosts(self, request: pb.ListHostsRequest, context: Any) -> pb.ListHostsResponse:
        """Return a page of hosts."""
        async with mongo_errors():
            return await self._questions.hosts(request)

    async def ListGaps(self, request: pb.ListGapsRequest, context: Any) -> pb.ListGapsResponse:
        """Return a page of gaps."""
        async with mongo_errors():
            return await self._questions.gaps(request)

    async def StreamEvents(
        self, request: pb.StreamEventsRequest, context: Any
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        """Yield the stored events of a host."""
        async with mongo_errors():
            async for part in self._questions.events(request):
                yield part

    async def SearchEvents(
        self, request: pb.SearchEventsRequest, context: Any
    ) -> pb.SearchEventsResponse:
        """Return a page of events."""
        async with mongo_errors():
            return await self._events.search(request)

    async def StreamBatches(
        self, request: pb.StreamBatchesRequest, context: Any
    ) -> AsyncIterator[pb.StreamBatchesResponse]:
        """Yield stored batches as they lie."""
        async with mongo_errors():
            async for part in self._exporting.batches(request):
                yield part

    async def SummariseEvents(
        self, request: pb.SummariseEventsRequest, context: Any
    ) -> pb.SummariseEventsResponse:
        """Return how many events match."""
        async with mongo_errors():
            return await self._events.summarise(request)

    async def EraseEvidence(
        self, request: pb.EraseEvidenceRequest, context: Any
    ) -> pb.EraseEvidenceResponse:
        """Remove bodies by authority."""
        async with mongo_errors():
            return await self._erasing.erase(request)

    async def SetDirective(
        self, request: pb.SetDirectiveRequest, context: Any
    ) -> pb.SetDirectiveResponse:
        """Ask something of a host or a herd."""
        async with mongo_errors():
            return await self._directing.set(request)

    async def ListDirectives(
        self, request: pb.ListDirectivesRequest, context: Any
    ) -> pb.ListDirectivesResponse:
        """Return everything that is asked."""
        async with mongo_errors():
            return await self._directing.all()

    async def GetTimeline(
        self, request: pb.GetTimelineRequest, context: Any
    ) -> pb.GetTimelineResponse:
        """Return events, activities, alerts, incidents and gaps as one list."""
        async with mongo_errors():
            return await self._events.timeline(request)

    async def GetProcessTree(
        self, request: pb.GetProcessTreeRequest, context: Any
    ) -> pb.GetProcessTreeResponse:
        """Return the processes around one."""
        async with mongo_errors():
            return await self._events.tree(request)

    async def VerifyCustody(
        self, request: pb.VerifyCustodyRequest, context: Any
    ) -> pb.VerifyCustodyResponse:
        """Check the chains of a host."""
        async with mongo_errors():
            return await self._questions.custody(request)


async def _unwrapped(
    requests: AsyncIterator[pb.AppendBatchesRequest],
) -> AsyncIterator[AgentMessage]:
    async for request in requests:
        yield request.message
