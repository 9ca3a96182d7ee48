"""Stored batches opened, judged and rendered: in the gateway, or in a process beside it.

`python -m gateway.rendering` is such a process: frames (4 bytes of length, then content) come on
standard input, a Setup first, then parts of the store's stream. For each part it answers with
frames of the file, none of them empty, then an empty one and a Tally of what was in them: the part
is whole when it says so, and not where a frame happens to be short. It ends with its input.
"""

import base64
import hashlib
import json
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO

from google.protobuf.message import DecodeError

from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from evidence.exports import proof
from evidence.exports.claims import claims, is_whole
from evidence.exports.formats import BY_NAME
from evidence.gaps import given_up
from evidence.matching import Matcher
from evidence.rows import Batch
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

PART_BYTES = 256 << 10
"""Handed on at once: less costs calls, more costs memory."""
LENGTH = struct.Struct("<I")
TALLY = struct.Struct("<5Q")


@dataclass(slots=True)
class Tally:
    """What was handed on: who reads it counts too, and both must come to the same."""

    pieces: int = 0
    size: int = 0
    """Bytes."""
    batches: int = 0
    """Of the store's stream, whether or not they have rows."""
    proved: int = 0
    """Batches with a proof line."""
    events: int = 0
    """Events with rows, in those."""

    def add(self, other: "Tally") -> None:
        """Count what `other` counted."""
        self.pieces += other.pieces
        self.size += other.size
        self.batches += other.batches
        self.proved += other.proved
        self.events += other.events

    def content(self) -> bytes:
        """Return it as it stands behind the empty frame."""
        return TALLY.pack(self.pieces, self.size, self.batches, self.proved, self.events)


class IncompleteError(Exception):
    """Rows are missing from what was rendered: it must not be taken for whole."""


class RowUnknownError(Exception):
    """The row to go on behind is none of this export; says why."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is asked for."""

    asked: str
    """The EventFilter, serialised, base64."""
    form: str
    raw: bool = False
    proof: str = ""
    """"": rows only; else proof lines among them, HEADERS or FULL."""

    @classmethod
    def of(cls, asked: pb.EventFilter, form: str, *, raw: bool = False, proof: str = "") -> "Setup":
        """Return the setup for a filter."""
        return cls(base64.b64encode(asked.SerializeToString()).decode(), form, raw, proof)

    def filter(self) -> pb.EventFilter:
        """Return the filter."""
        return pb.EventFilter.FromString(base64.b64decode(self.asked))

    def frame(self) -> bytes:
        """Return it as the first frame."""
        return framed(json.dumps(asdict(self)).encode())


class Writer:
    """Renders batches one after the other."""

    def __init__(self, setup: Setup, after: str = "") -> None:
        """Render as `setup` says; of the first batch only what is behind the row `after`."""
        self._setup, self._after = setup, after
        self._asked = setup.filter()
        self._format = BY_NAME[setup.form](raw=setup.raw)
        self._matcher = Matcher(self._asked)
        self._all = is_whole(self._asked)
        self.tally = Tally()
        """What was rendered, here or elsewhere."""

    def begin(self, *, resumed: bool) -> bytes:
        """Return what the answer begins with; `resumed`: it goes behind what came before."""
        setup, first = self._setup, b""
        if setup.proof:
            first = proof.MARK + proof.begin(self._asked, setup.form, setup.proof, raw=setup.raw)
        return first if resumed else first + self._format.head

    def end(self) -> bytes:
        """Return what the answer ends with when it is whole."""
        said = self._setup.proof
        if not said:
            return b""
        answered = {"batches": self.tally.proved, "events": self.tally.events}
        return proof.MARK + proof.end(answered=answered, **claims(self._asked, said))

    def parts(self, part: pb.StreamBatchesResponse) -> Iterator[bytes]:
        """Yield a part of the store's stream, rendered, in pieces of some size, none empty.

        Raises:
            RowUnknownError: the row to go on behind is not there.
            IncompleteError: an event has no row.
        """
        ready: list[bytes] = []
        size = 0
        for batch in part.batches:
            for piece in self._batch(batch):
                if not piece:
                    continue
                ready.append(piece)
                size += len(piece)
                if size >= PART_BYTES:
                    yield self._counted(b"".join(ready))
                    ready, size = [], 0
            self.tally.batches += 1
        if ready:
            yield self._counted(b"".join(ready))

    def _counted(self, piece: bytes) -> bytes:
        self.tally.pieces += 1
        self.tally.size += len(piece)
        return piece

    def _batch(self, stored: pb.StoredBatch) -> Iterator[bytes]:
        """Yield the rows of a batch, and its proof line."""
        header = delivery.BatchHeader.FromString(stored.header)
        opened = _opened(header, stored.body) if self._matcher.herd(header.herd) else None
        places: list[int] | range | None = None
        gaps: list[tuple[int, int]] = []
        size, digest = 0, hashlib.sha256()
        if opened is not None:
            raw, body = opened
            places = self._places(raw, body)
            batch = Batch(stored.batch_id, header, stored.hostname, body)
            wanted = 0 if self._after else self._format.count(body, places)
            gaps = given_up(raw, body) if self._setup.proof else []
            lines = self._format.lines(batch, places)
            rows = 0
            for piece in self._behind(lines) if self._after else lines:
                if self._setup.proof:
                    size += len(piece)
                    digest.update(piece)
                rows += piece.count(b"\n")
                yield piece
            if wanted and rows != wanted:
                raise IncompleteError(f"{rows} rows instead of {wanted} of {stored.batch_id}")
        elif self._after:
            raise RowUnknownError("after: the events of this row are gone")
        # A batch without a row says nothing, unless its body is gone.
        if self._setup.proof and (places or places is None):
            count = None if places is None else len(places)
            self.tally.proved += 1
            self.tally.events += count or 0
            yield proof.MARK + proof.of_batch(
                stored, size, digest.hexdigest(), count, self._setup.proof, gaps
            )

    def _places(self, raw: bytes, body: events.EventBatch) -> list[int] | range:
        if self._all:
            return range(len(body.events))
        return self._matcher.places(body) if self._matcher.may_hold(raw) else []

    def _behind(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the lines behind the row to go on behind."""
        after, self._after = self._after, ""
        for piece in pieces:
            lines = piece.splitlines(keepends=True)
            for number, line in enumerate(lines):
                if self._format.row_id(line) == after:
                    yield from lines[number + 1 :]
                    yield from pieces
                    return
        raise RowUnknownError("after: no row of this export has that id")


def _opened(header: delivery.BatchHeader, frame: bytes) -> tuple[bytes, events.EventBatch] | None:
    """Return the body's bytes and what they say; None: it is gone, or cannot be read."""
    if not frame or header.body_format != 1:
        return None
    try:
        raw = open_frame(frame, header.body_size_bytes)
        return raw, events.EventBatch.FromString(raw)
    except (BadFrameError, SizeMismatchError, DecodeError):
        return None


def framed(content: bytes) -> bytes:
    """Return `content` as a frame."""
    return LENGTH.pack(len(content)) + content


def _frame(source: IO[bytes]) -> bytes | None:
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    content = source.read(LENGTH.unpack(head)[0])
    return content if len(content) == LENGTH.unpack(head)[0] else None


def main() -> None:
    """Render parts until the input ends."""
    # Ctrl-C reaches the whole group; the gateway decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    first = _frame(source)
    if first is None:
        return
    writer = Writer(Setup(**json.loads(first)))
    while (content := _frame(source)) is not None:
        writer.tally = Tally()
        for piece in writer.parts(pb.StreamBatchesResponse.FromString(content)):
            sink.write(LENGTH.pack(len(piece)))
            sink.write(piece)
        sink.write(LENGTH.pack(0))
        sink.write(writer.tally.content())
        sink.flush()


if __name__ == "__main__":
    main()
