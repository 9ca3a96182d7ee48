"""Exports: stored batches as files, with constant memory."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.peers import STREAM_S, Peers
from gateway.problems import BrokenOffError, PeerError, ProblemError
from gateway.renderers import Renderers
from gateway.rendering import IncompleteError, RowUnknownError, Setup, Writer
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.store.v1 import store_service_pb2 as pb

JOB_BYTES = 512 << 10
"""Bodies, opened, that are rendered in one go: rows take some times as much."""
SMALL_BYTES = 8 << 20
"""Rows that are rendered in the gateway: to start processes takes as long as these."""
UNAVAILABLE = 503
_ROW_ID = re.compile(r"(.{1,400})/[0-9]{1,10}(\.[0-9]{1,10})?")


@dataclass(frozen=True, slots=True)
class Export:
    """What is asked for, and from where."""

    asked: pb.EventFilter
    setup: Setup
    after: str = ""
    """Id of the row to go on behind."""
    position: str = ""
    """Position of the batch to go on behind."""


async def content(peers: Peers, renderers: Renderers, export: Export) -> AsyncIterator[bytes]:
    """Yield the file in parts.

    Raises:
        PeerError: the store refused, or does not answer.
        ProblemError: 400, the row to go on behind is none of this export.
        BrokenOffError: a process that renders ended, or something is missing: of the store's
            stream, of a part of it, or rows of a batch.
    """
    writer = Writer(export.setup, export.after)
    ready = [writer.begin(resumed=bool(export.after or export.position))]
    jobs = _jobs(_batches(peers, export))
    rendered = 0
    async for job in jobs:
        try:
            for piece in writer.parts(job):
                # What the answer begins with goes with its first rows: till then it can be refused.
                yield b"".join((*ready, piece))
                ready.clear()
                rendered += len(piece)
                # Sending seldom waits; others must get their turn.
                await asyncio.sleep(0)
        except RowUnknownError as error:
            raise ProblemError(400, str(error)) from None
        except IncompleteError as error:
            raise BrokenOffError(str(error)) from error
        if rendered >= SMALL_BYTES:
            break
    else:
        yield b"".join((*ready, writer.end()))
        return
    if ready:
        yield ready.pop()
    async for piece in _large(renderers, export, writer, jobs):
        yield piece
    yield writer.end()


async def _large(
    renderers: Renderers,
    export: Export,
    writer: Writer,
    jobs: AsyncIterator[pb.StreamBatchesResponse],
) -> AsyncIterator[bytes]:
    async with renderers.lent(export.setup) as lent:
        if lent is None:
            try:
                async for job in jobs:
                    for piece in writer.parts(job):
                        yield piece
                        await asyncio.sleep(0)
            except IncompleteError as error:
                raise BrokenOffError(str(error)) from error
            return
        async for piece in lent.render(_serialised(jobs)):
            yield piece
        writer.tally.add(lent.tally)


async def _serialised(
    jobs: AsyncIterator[pb.StreamBatchesResponse],
) -> AsyncIterator[tuple[bytes, int]]:
    async for job in jobs:
        yield job.SerializeToString(), len(job.batches)


async def _jobs(
    parts: AsyncIterator[pb.StreamBatchesResponse],
) -> AsyncIterator[pb.StreamBatchesResponse]:
    """Yield parts cut to what is rendered in one go, of like size: several render them in turn."""
    job, size = pb.StreamBatchesResponse(), 0
    async for part in parts:
        for batch in part.batches:
            job.batches.append(batch)
            size += delivery.BatchHeader.FromString(batch.header).body_size_bytes
            if size >= JOB_BYTES:
                yield job
                job, size = pb.StreamBatchesResponse(), 0
    if job.batches:
        yield job


async def _batches(peers: Peers, export: Export) -> AsyncIterator[pb.StreamBatchesResponse]:
    """Yield batches; a stream that the store ends (it does so with long ones) is taken up again."""
    asked = pb.StreamBatchesRequest(filter=export.asked, position=export.position)
    if export.after:
        match = _ROW_ID.fullmatch(export.after)
        if match is None:
            raise ProblemError(400, "after: the id of a row")
        asked.from_batch_id = match[1]
    while True:
        moved = False
        try:
            async for part in whole(peers.store.parts(partial(_stream, asked))):
                yield part
                moved = True
                last = part.batches[-1].position
                asked = pb.StreamBatchesRequest(filter=export.asked, position=last)
        except PeerError as error:
            if not moved or error.status() != UNAVAILABLE:
                raise
        else:
            return


async def whole(
    parts: AsyncIterator[pb.StreamBatchesResponse],
) -> AsyncIterator[pb.StreamBatchesResponse]:
    """Yield the messages with batches of a stream of the store, which counts them.

    Raises:
        BrokenOffError: others came before a message than it says, or the stream has no end.
    """
    count, ended = 0, False
    async for part in parts:
        if part.batches_before != count or ended:
            raise BrokenOffError("batches are missing in what the store sent")
        count, ended = count + len(part.batches), part.end
        if part.batches:
            yield part
    if not ended:
        raise BrokenOffError("the store's stream ended before its end")


def _stream(asked: pb.StreamBatchesRequest, stub: Any) -> Any:
    return stub.StreamBatches(asked, timeout=STREAM_S)
