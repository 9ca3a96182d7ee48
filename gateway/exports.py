"""Exports: stored batches opened, judged and rendered as they come, with constant memory."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from evidence.exports import proof
from evidence.exports.formats import Format
from evidence.matching import Matcher
from evidence.rows import Batch
from gateway.peers import STREAM_S, Peers
from gateway.problems import PeerError, ProblemError
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

PART_BYTES = 256 << 10
"""Sent at once: less costs calls, more costs memory."""
UNAVAILABLE = 503
_ROW_ID = re.compile(r"(.{1,400})/[0-9]{1,10}(\.[0-9]{1,10})?")


@dataclass(frozen=True, slots=True)
class Export:
    """What is asked for."""

    asked: pb.EventFilter
    format: Format
    raw: bool = False
    proof: str = ""
    """"": rows only; else proof lines among them, HEADERS or FULL."""
    after: str = ""
    """Id of the row to go on behind."""
    position: str = ""
    """Position of the batch to go on behind."""

    @property
    def resumed(self) -> bool:
        """Whether what comes goes behind what came before."""
        return bool(self.after or self.position)


async def content(peers: Peers, export: Export) -> AsyncIterator[bytes]:
    """Yield the file in parts.

    Raises:
        PeerError: the store refused, or does not answer.
        ProblemError: 400, the row to go on behind is none of this export.
    """
    writer = _Writer(export)
    ready = writer.begin()
    size = sum(map(len, ready))
    async for batch in _batches(peers, export):
        for part in writer.batch(batch):
            ready.append(part)
            size += len(part)
            if size >= PART_BYTES:
                yield b"".join(ready)
                ready, size = [], 0
                # Sending seldom waits; others must get their turn.
                await asyncio.sleep(0)
    ready.append(writer.end())
    yield b"".join(ready)


async def _batches(peers: Peers, export: Export) -> AsyncIterator[pb.StoredBatch]:
    """Yield batches; a stream that the store ends (it does so with long ones) is taken up again."""
    asked = pb.StreamBatchesRequest(filter=export.asked, position=export.position)
    if export.after:
        match = _ROW_ID.fullmatch(export.after)
        if match is None:
            raise ProblemError(400, "after: the id of a row")
        asked.from_batch_id = match[1]
    while True:
        moved = False
        parts = peers.store.parts(partial(_stream, asked))
        try:
            async for part in parts:
                for batch in part.batches:
                    yield batch
                    moved = True
                    asked = pb.StreamBatchesRequest(filter=export.asked, position=batch.position)
        except PeerError as error:
            if not moved or error.status() != UNAVAILABLE:
                raise
        else:
            return


def _stream(asked: pb.StreamBatchesRequest, stub: Any) -> Any:
    return stub.StreamBatches(asked, timeout=STREAM_S)


class _Writer:
    """Renders batches one after the other."""

    def __init__(self, export: Export) -> None:
        self._export, self._format = export, export.format
        self._matcher = Matcher(export.asked)
        # Hosts and herds are a matter of the batch: without more, all of its events match.
        narrowing = pb.EventFilter()
        narrowing.CopyFrom(export.asked)
        narrowing.ClearField("hosts")
        narrowing.ClearField("herds")
        self._all = not narrowing.ListFields()
        self._after = export.after.encode()

    def begin(self) -> list[bytes]:
        """Return what the answer begins with."""
        export = self._export
        ready = []
        if export.proof:
            first = proof.begin(export.asked, self._format.name, export.proof, raw=export.raw)
            ready.append(proof.MARK + first)
        if not export.resumed:
            ready.append(self._format.head)
        return ready

    def end(self) -> bytes:
        """Return what the answer ends with when it is whole."""
        return proof.MARK + proof.end() if self._export.proof else b""

    def batch(self, stored: pb.StoredBatch) -> Iterator[bytes]:
        """Yield the rows of a batch, and its proof line."""
        header = delivery.BatchHeader.FromString(stored.header)
        opened = opened_body(header, stored.body) if self._matcher.herd(header.herd) else None
        places: list[int] | range | None = None
        written: list[bytes] = []
        if opened is not None:
            raw, body = opened
            places = self._places(raw, body)
            lines = self._format.lines(
                Batch(stored.batch_id, header, stored.hostname, body), places
            )
            for part in self._behind(lines) if self._after else lines:
                if self._export.proof:
                    written.append(part)
                yield part
        elif self._after:
            raise ProblemError(400, "after: the events of this row are gone")
        # A batch without a row says nothing, unless its body is gone.
        if self._export.proof and (places or places is None):
            events_ = None if places is None else len(places)
            yield proof.MARK + proof.of_batch(stored, written, events_, self._export.proof)

    def _places(self, raw: bytes, body: events.EventBatch) -> list[int] | range:
        if self._all:
            return range(len(body.events))
        return self._matcher.places(body) if self._matcher.may_hold(raw) else []

    def _behind(self, parts: Iterator[bytes]) -> list[bytes]:
        """Return the lines behind the row to go on behind."""
        lines = b"".join(parts).splitlines(keepends=True)
        after, self._after = self._after.decode(), b""
        for number, line in enumerate(lines):
            if self._format.row_id(line) == after:
                return lines[number + 1 :]
        raise ProblemError(400, "after: no row of this export has that id")


def opened_body(
    header: delivery.BatchHeader, frame: bytes
) -> tuple[bytes, events.EventBatch] | None:
    """Return the body's bytes and what they say; None: it is gone, or cannot be read."""
    if not frame or header.body_format != 1:
        return None
    try:
        raw = open_frame(frame, header.body_size_bytes)
        return raw, events.EventBatch.FromString(raw)
    except (BadFrameError, SizeMismatchError, DecodeError):
        return None
