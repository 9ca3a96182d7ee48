"""`nightherd verify FILE`: an export against its proof, without asking anybody."""

import base64
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from chassis.text import show
from cli.export_findings import Check, tell
from cli.export_rows import MOST_ROWS_BYTES, Rows, Taken
from cli.links import Links
from cli.parts import MOST_LINE_BYTES, proof_of
from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from evidence import gaps, rows
from evidence.exports import claims, proof
from evidence.exports.formats import BY_NAME, Format
from evidence.matching import Matcher
from nightherd.event.v1.event_pb2 import EventBatch
from nightherd.store.v1 import store_service_pb2 as pb

INTACT, BROKEN, UNREADABLE = 0, 1, 2


class UnreadableError(Exception):
    """The files are no export and its proof."""


def verify_export(file: Path, proof_file: Path | None, keys: Sequence[str]) -> int:
    """Check `file`; print what is proved and what is not. 0 intact, 1 broken, 2 no export."""
    try:
        trusted = frozenset(bytes.fromhex(key) for key in keys)
        with file.open("rb") as content, (proof_file or proof_of(file)).open("rb") as lines:
            check = checked(content, lines, trusted)
    except (UnreadableError, ValueError) as error:
        print(f"nightherd: {file}: {error}", file=sys.stderr)
        return UNREADABLE
    except OSError as error:
        print(f"nightherd: {error.filename}: {error.strerror}", file=sys.stderr)
        return UNREADABLE
    tell(file, check)
    return BROKEN if check.links.fault_count else INTACT


def checked(content: IO[bytes], lines: IO[bytes], trusted: frozenset[bytes]) -> Check:
    """Check rows against proof lines.

    Raises:
        UnreadableError: they are no export and its proof, or of another version.
    """
    begin = _line(lines)
    if begin is None or begin.get("nightherdExport") != proof.VERSION:
        raise UnreadableError("the proof does not begin as one that this version can read")
    reader = _Reader(content, begin, trusted)
    while (said := _line(lines)) is not None:
        if "end" in said:
            reader.end(said)
            if lines.read(1):
                reader.check.links.fault("", "the proof goes on behind its end")
            return reader.check
        reader.batch(said)
    reader.check.links.fault("", "the proof has no end: the export is not whole")
    return reader.check


def _line(lines: IO[bytes]) -> dict[str, Any] | None:
    line = lines.readline(MOST_LINE_BYTES)
    if not line:
        return None
    try:
        said = orjson.loads(line)
    except ValueError:
        raise UnreadableError("a line of the proof is no JSON, or too long") from None
    if not isinstance(said, dict):
        raise UnreadableError("a line of the proof is no object")
    return said


class _Reader:
    """Reads the file batch by batch, as its proof says."""

    def __init__(
        self, content: IO[bytes], begin: dict[str, Any], trusted: frozenset[bytes]
    ) -> None:
        try:
            self._raw = bool(begin["raw"])
            self._make = BY_NAME[begin["format"]]
            self._asked = ParseDict(begin["filter"], pb.EventFilter())
            self._rows_version = int(begin["rows"])
        except (KeyError, TypeError, ValueError, ParseError):
            raise UnreadableError("the proof does not say what was exported") from None
        self.check = Check(Links(trusted), self._asked)
        self._format: Format = self._make(raw=self._raw)
        self._matcher = Matcher(self._asked)
        self._all = self.check.all = claims.is_whole(self._asked)
        self._holes = begin.get("holes") is True
        """Whether the proof says which batches were given up."""
        self._rows = Rows(content, self._format)
        self._lines = 0
        self._passed = False
        """Rows of a batch were passed over: its proof line does not say where they are."""
        if fault := self._rows.begin():
            self.check.links.fault("", fault)

    def batch(self, said: dict[str, Any]) -> None:
        """Check the rows of a batch and its header."""
        links, self._lines = self.check.links, self._lines + 1
        name = show(str(said.get("batch", "?")))[:200]
        try:
            size, digest = int(said["bytes"]), str(said["sha256"])
            events = int(said.get("events", 0))
            header_bytes, signature, key, body = (
                base64.b64decode(said.get(part, ""), validate=True)
                for part in ("header", "signature", "signingKey", "body")
            )
            hostname = str(said.get("hostname", ""))
            header = links.see(str(said["batch"]), header_bytes, signature, key)
            given_up = [(int(first), int(last)) for first, last in said.get("givenUp", ())]
            links.says(header, given_up, sealed=False)
        except (KeyError, TypeError, ValueError, DecodeError):
            links.fault(name, "its proof line cannot be read")
            self._passed = True
            return
        if not 0 <= size <= MOST_ROWS_BYTES:
            links.fault(name, "its rows cannot be of that size")
            self._passed = True
            return
        taken = self._rows.take(name, size, digest)
        if taken.fault:
            links.fault(name, taken.fault)
        else:
            self.check.held += 1
        self.check.events += events
        removed = bool(said.get("bodyRemoved"))
        self.check.removed += removed
        if removed and (events or body):
            links.fault(name, "its body is said to be gone, and yet to be here")
        elif not removed and "events" not in said:
            links.fault(name, "its body could not be read when it was exported")
        elif not removed and self._all and events != header.event_count:
            links.fault(name, f"{events} events were exported, {header.event_count} sealed")
        self._ids(name, taken.content, events, header.event_count)
        if body:
            rest = rows.Batch(str(said["batch"]), header, hostname, EventBatch())
            self._body(name, rest, body, taken)

    def _ids(self, name: str, content: bytes, events: int, most: int) -> None:
        """Check that each row names an event of the batch, each event once, in order."""
        last, places = (-1, -1), set[int]()
        for line in content.splitlines():
            try:
                batch_id, _, place_text = self._format.row_id(line).rpartition("/")
                place, _, number = place_text.partition(".")
                here = (int(place), int(number or 0))
            except ValueError:
                self.check.links.fault(name, "a row has no id")
                return
            if batch_id != name or not last < here or here[0] >= most:
                self.check.links.fault(name, "a row names no event of it, or one again")
                return
            last = here
            places.add(here[0])
        if len(places) != events:
            self.check.links.fault(name, f"{len(places)} events have rows, not {events}")

    def _body(self, name: str, batch: rows.Batch, frame: bytes, taken: Taken) -> None:
        """Check the sealed body, and make its rows again."""
        links = self.check.links
        try:
            raw = open_frame(frame, batch.header.body_size_bytes)
            body = EventBatch.FromString(raw)
        except (BadFrameError, SizeMismatchError, DecodeError) as error:
            links.fault(name, f"its body cannot be read: {show(str(error))}")
            return
        if hashlib.sha256(raw).digest() != batch.header.body_hash:
            links.fault(name, "its body is not the one that was sealed")
            return
        links.says(batch.header, gaps.given_up(raw, body), sealed=True)
        if self._rows_version != rows.VERSION:
            return
        places = range(len(body.events)) if self._all else self._matcher.places(body)
        opened = rows.Batch(batch.batch_id, batch.header, batch.hostname, body)
        count = len(places)
        made = b"".join(self._format.lines(opened, places))
        if made != taken.content:
            links.fault(name, f"{_first_other(made, taken)} not what the sealed events say")
        else:
            self.check.recomputed += count
            self.check.remade += 1

    def end(self, said: dict[str, Any]) -> None:
        """Check the whole file."""
        links = self.check.links
        self.check.whole = True
        if self._all and self._holes and not links.fault_count:
            links.end()
        if not self._passed and not self._rows.ends():
            links.fault("", "the file goes on behind its last batch")
        if links.fault_count:
            return  # which batch is wrong is known: that the whole is, too, says nothing more
        if not self._rows.is_file(said.get("bytes", -1), str(said.get("sha256"))):
            links.fault("", "the file is not the one that the proof was written for")
        if said.get("batches") != self._lines or said.get("events") != self.check.events:
            links.fault("", "the proof's end counts other batches or events than there are")


def _first_other(made: bytes, taken: Taken) -> str:
    """Return which line is the first that is not as it was `made`."""
    there = taken.content.splitlines()
    for place, line in enumerate(made.splitlines()):
        if place >= len(there) or there[place] != line:
            return f"from line {taken.line + place} of the file on, its rows are"
    return "there are more rows than events: they are"
