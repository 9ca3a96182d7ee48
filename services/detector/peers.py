"""The programs that the detector talks to: modeler (models) and store (findings, host names)."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import structlog
from grpc import aio

from behaviour.model import Model, from_message
from chassis.channel import Channel
from chassis.counters import Counter, Gauge
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.modeler.v1 import modeler_service_pb2 as modeler
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from nightherd.store.v1 import store_service_pb2 as store
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.detector.engine import Models

log = structlog.get_logger()
findings_total = Counter("nightherd_detector_findings", "Findings recorded in the store", ["kind"])
retries_total = Counter("nightherd_detector_retries", "Calls to the store made again")
revision = Gauge("nightherd_detector_revision", "Model revision the detector works with")

MAX_FINDINGS = 1000
MAX_REQUEST_BYTES = 2 << 20
RECORD_S = 20.0
NAME_S = 2.0


class Backoff:
    """Pauses that grow from `first_s` to `most_s`, each a little different."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        """Begin with the shortest."""
        self._first_s, self._most_s, self._next_s = first_s, most_s, first_s

    async def pause(self) -> None:
        """Wait; the next pause is longer."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1))  # noqa: S311
        self._next_s = min(self._most_s, 2 * self._next_s)

    def reset(self) -> None:
        """Begin anew: it worked."""
        self._next_s = self._first_s


class ModelWatch:
    """Follows the modeler's models; the last ones stay in force while it is away."""

    def __init__(self, channel: Channel, detector_id: str) -> None:
        """Watch through `channel` under a name that is unique while this process runs."""
        self._channel, self._id = channel, detector_id
        self.models = Models()
        self.complete = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        backoff = Backoff()
        while True:
            try:
                async for complete in self._stream():
                    if complete:
                        backoff.reset()
            except aio.AioRpcError as error:
                log.warning("models not watched", status=error.code().name, detail=error.details())
            except (OSError, ValueError, asyncio.InvalidStateError) as error:
                # Our certificate is being renewed, or the stream ended under a write.
                log.warning("models not watched", error=repr(error))
            await backoff.pause()

    async def until_complete(self, stop: "asyncio.Future[None]") -> None:
        """Return when the first snapshot is complete, or on `stop`."""
        complete = asyncio.ensure_future(self.complete.wait())
        waiting: set[asyncio.Future[object]] = {complete, stop}  # type: ignore[arg-type]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        complete.cancel()

    async def _stream(self) -> AsyncIterator[bool]:
        """One stream: all models, then changes. Yields whether the first snapshot is complete."""
        call = ModelerServiceStub(self._channel.get()).WatchModels()
        fresh: dict[tuple[str, str], Model] = {}
        complete = False
        try:
            await call.write(self._applied())
            async for part in call:
                for message in part.models:
                    fresh[message.herd, message.service] = from_message(message)
                complete = complete or part.complete
                if complete:
                    # A copy: whoever judges with the old ones goes on with the old ones.
                    self.models = Models(dict(fresh), part.revision)
                    revision.set(part.revision)
                    if not self.complete.is_set():
                        log.info("models complete", models=len(fresh), revision=part.revision)
                    self.complete.set()
                    await call.write(self._applied())
                yield complete
        finally:
            call.cancel()

    def _applied(self) -> modeler.WatchModelsRequest:
        return modeler.WatchModelsRequest(
            detector_id=self._id, applied_revision=self.models.revision
        )


class Store:
    """What the detector asks of the store."""

    def __init__(self, channel: Channel) -> None:
        """Reach it through `channel`."""
        self._channel = channel

    async def record(self, findings: Sequence[pb.Finding]) -> None:
        """Return when all are recorded; tries until it succeeds, so the agent's spool waits."""
        for part in parts_of(findings):
            backoff = Backoff()
            request = store.RecordFindingsRequest(findings=part)
            while True:
                stub = StoreServiceStub(self._channel.get())
                try:
                    await stub.RecordFindings(request, timeout=RECORD_S)
                except aio.AioRpcError as error:
                    retries_total.inc()
                    log.warning(
                        "findings not recorded; trying again",
                        findings=len(part),
                        status=error.code().name,
                        detail=error.details(),
                    )
                    await backoff.pause()
                else:
                    break
            for finding in part:
                findings_total.labels(finding.WhichOneof("kind")).inc()

    async def hostname(self, host_id: str) -> str:
        """Return the name of a host; "" when the store does not know it or does not answer."""
        stub = StoreServiceStub(self._channel.get())
        try:
            answer = await stub.ListHosts(
                store.ListHostsRequest(hosts=[host_id], limit=1), timeout=NAME_S
            )
        except aio.AioRpcError:
            return ""
        return next((h.facts.hostname for h in answer.hosts if h.host_id == host_id), "")


def parts_of(findings: Sequence[pb.Finding]) -> list[list[pb.Finding]]:
    """Cut findings into requests that the store takes: by number and by size."""
    parts: list[list[pb.Finding]] = []
    size = 0
    for finding in findings:
        needs = finding.ByteSize()
        if not parts or len(parts[-1]) == MAX_FINDINGS or size + needs > MAX_REQUEST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(finding)
        size += needs
    return parts
