"""Detectors that watch: all models first, then every change, and how far each detector is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from behaviour.model import to_message
from chassis.errors import InvalidArgumentError
from chassis.mongo import mongo_errors
from nightherd.modeler.v1 import modeler_service_pb2 as pb
from services.modeler.domain.standing import Standing
from services.modeler.knowledge import Knowledge
from services.modeler.repository.detectors import Detectors
from services.modeler.repository.models import Models

POLL_S = 0.2
REFRESH_S = 2.0
PART_BYTES = 1 << 20
MAX_ID = 256
NOTHING = -1
"""Told when a stream begins: below 0, the revision of models that never changed."""


class DetectorUnnamedError(InvalidArgumentError):
    """A detector must say who it is first."""

    reason = "DETECTOR_UNNAMED"


class Watching:
    """Serves WatchModels. Changes are found by asking: no change streams are needed."""

    def __init__(self, models: Models, knowledge: Knowledge, detectors: Detectors) -> None:
        """Ask these."""
        self._models, self._knowledge, self._detectors = models, knowledge, detectors
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams: detectors go to another replica."""
        self._closing.set()

    async def watch(
        self, requests: AsyncIterator[pb.WatchModelsRequest]
    ) -> AsyncIterator[pb.WatchModelsResponse]:
        """Yield parts, the last one `complete`, then changes until the detector leaves.

        Raises:
            DetectorUnnamedError: the first message names no detector.
        """
        first = await anext(requests, pb.WatchModelsRequest())
        if not 0 < len(first.detector_id) <= MAX_ID:
            raise DetectorUnnamedError("the first message must name the detector")
        token = self._detectors.token()
        report = _Report(self._detectors, first.detector_id, token, first.applied_revision)
        reader = asyncio.create_task(report.follow(requests))
        closing = asyncio.create_task(self._closing.wait())
        try:
            async for response in self._changes({reader, closing}):
                yield response
            if reader.done():
                reader.result()
        finally:
            for task in (reader, closing):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            with suppress(Exception):  # it counts as gone soon anyway
                async with asyncio.timeout(1):
                    await self._detectors.gone(first.detector_id, token)

    async def _changes(
        self, ends: "set[asyncio.Task[bool] | asyncio.Task[None]]"
    ) -> AsyncIterator[pb.WatchModelsResponse]:
        told = NOTHING
        while not any(task.done() for task in ends):
            async with mongo_errors():
                revision = await self._models.revision()
                if revision > told:
                    # A change made after `revision` was read may be among them; it comes again.
                    changed = await self._models.changed_since(told)
                    async for response in self._parts(changed, told, revision):
                        yield response
                    told = revision
            await asyncio.wait(ends, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)

    async def _parts(
        self, changed: list[Standing], told: int, revision: int
    ) -> AsyncIterator[pb.WatchModelsResponse]:
        """Yield models in parts of about a megabyte; only the last one brings the new revision."""

        def part() -> pb.WatchModelsResponse:
            return pb.WatchModelsResponse(revision=max(told, 0), complete=told != NOTHING)

        response, size = part(), 0
        for standing in changed:
            message = to_message(await self._knowledge.model(standing))
            if size and size + message.ByteSize() > PART_BYTES:
                yield response
                response, size = part(), 0
            response.models.append(message)
            size += message.ByteSize()
        response.revision, response.complete = revision, True
        yield response


class _Report:
    """Keeps the list of detectors in step with what one detector says."""

    def __init__(self, detectors: Detectors, detector_id: str, token: str, applied: int) -> None:
        self._detectors, self._detector_id, self._token = detectors, detector_id, token
        self._applied, self._noted = applied, False

    async def follow(self, requests: AsyncIterator[pb.WatchModelsRequest]) -> None:
        """Return when the detector leaves."""
        beat = asyncio.create_task(self._beat())
        try:
            async for request in requests:
                self._applied = request.applied_revision
                async with mongo_errors():
                    await self._say()
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat

    async def _beat(self) -> None:
        while True:
            with suppress(Exception):  # MongoDB is away: the entry ages meanwhile
                await self._say()
            await asyncio.sleep(REFRESH_S)

    async def _say(self) -> None:
        note = self._detectors.seen if self._noted else self._detectors.came
        await note(self._detector_id, self._token, self._applied)
        self._noted = True
