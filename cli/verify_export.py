"""`nightherd verify FILE`: an export against its proof, without asking anybody."""

import base64
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from chassis.text import show
from cli.links import Links
from cli.parts import MOST_LINE_BYTES, proof_of
from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from evidence import rows
from evidence.exports import proof
from evidence.exports.formats import BY_NAME, Format
from evidence.matching import Matcher
from nightherd.event.v1.event_pb2 import EventBatch
from nightherd.store.v1 import store_service_pb2 as pb

INTACT, BROKEN, UNREADABLE = 0, 1, 2
MOST_KEYS = 10
MOST_ROWS_BYTES = 1 << 30
"""Rows of one batch; more is no export."""


class UnreadableError(Exception):
    """The files are no export and its proof."""


@dataclass(slots=True)
class Check:
    """What was found."""

    links: Links
    events: int = 0
    removed: int = 0
    recomputed: int = 0
    """Events whose rows were made again from the sealed body, and are the same."""
    whole: bool = False
    """The proof has its end."""
    begin: dict[str, Any] = field(default_factory=dict)


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
    _tell(file, check)
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
                reader.check.links.fault("-", "the proof goes on behind its end")
            return reader.check
        reader.batch(said)
    reader.check.links.fault("-", "the proof has no end: the export is not whole")
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
        self._content, self._digest, self._size = content, hashlib.sha256(), 0
        self.check = Check(Links(trusted), begin=begin)
        try:
            self._raw = bool(begin["raw"])
            self._make = BY_NAME[begin["format"]]
            self._asked = ParseDict(begin["filter"], pb.EventFilter())
            self._rows_version = int(begin["rows"])
        except (KeyError, TypeError, ValueError, ParseError):
            raise UnreadableError("the proof does not say what was exported") from None
        self._format: Format = self._make(raw=self._raw)
        self._matcher = Matcher(self._asked)
        narrowing = pb.EventFilter()
        narrowing.CopyFrom(self._asked)
        narrowing.ClearField("hosts")
        narrowing.ClearField("herds")
        self._all = not narrowing.ListFields()
        if self._take(len(self._format.head)) != self._format.head:
            self.check.links.fault("-", "the file does not begin as this format does")

    def _take(self, size: int) -> bytes:
        content = self._content.read(size)
        self._digest.update(content)
        self._size += len(content)
        return content

    def batch(self, said: dict[str, Any]) -> None:
        """Check the rows of a batch and its header."""
        links = self.check.links
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
        except (KeyError, TypeError, ValueError, DecodeError):
            links.fault(name, "its proof line cannot be read")
            return
        if not 0 <= size <= MOST_ROWS_BYTES:
            links.fault(name, "its rows cannot be of that size")
            return
        content = self._take(size)
        if hashlib.sha256(content).hexdigest() != digest:
            links.fault(name, "its rows are not those that were written")
        self.check.events += events
        self.check.removed += bool(said.get("bodyRemoved"))
        if "events" in said and events != header.event_count and self._all:
            links.fault(name, f"{events} events were exported, {header.event_count} sealed")
        self._ids(name, content, events, header.event_count)
        if body:
            rest = rows.Batch(str(said["batch"]), header, hostname, EventBatch())
            self._body(name, rest, body, content)

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

    def _body(self, name: str, batch: rows.Batch, frame: bytes, content: bytes) -> None:
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
        if self._rows_version != rows.VERSION:
            return
        places = range(len(body.events)) if self._all else self._matcher.places(body)
        opened = rows.Batch(batch.batch_id, batch.header, batch.hostname, body)
        count = len(places)
        if b"".join(self._format.lines(opened, places)) != content:
            links.fault(name, "its rows are not what the sealed events say")
        else:
            self.check.recomputed += count

    def end(self, said: dict[str, Any]) -> None:
        """Check the whole file."""
        links = self.check.links
        self.check.whole = True
        if self._content.read(1):
            links.fault("-", "the file goes on behind its last batch")
        if said.get("sha256") != self._digest.hexdigest() or said.get("bytes") != self._size:
            links.fault("-", "the file is not the one that the proof was written for")
        if said.get("batches") != links.batches or said.get("events") != self.check.events:
            links.fault("-", "the proof's end counts other batches or events than there are")


def _tell(file: Path, check: Check) -> None:
    links = check.links
    state = "BROKEN" if links.fault_count else "intact"
    print(f"{file}: {state}: {check.events:,} events of {links.batches:,} batches")
    for fault in links.faults:
        print(f"  {fault}")
    if links.fault_count > len(links.faults):
        print(f"  and {links.fault_count - len(links.faults)} more")
    print("What is shown:")
    print("  the rows are those that were written with this proof")
    print(f"  {links.links:,} links between neighbouring batches hold")
    print(f"  {links.signed:,} of {links.batches:,} batches are vouched for by a host's signature")
    print(
        f"  {check.recomputed:,} events were made again from their sealed bodies, and are the same"
    )
    print("What is not:")
    if check.recomputed < check.events:
        print(
            f"  that {check.events - check.recomputed:,} rows say what was sealed "
            "(export with --proof full, or ask the store)"
        )
    if links.absent:
        print(f"  what is in {links.absent:,} batches between others that are not in the export")
    if links.forks:
        print(f"  which of two versions of {links.forks:,} batches is true (a host told both)")
    if check.removed:
        print(f"  what was in {check.removed:,} batches of which the store has no body any more")
    print("  names of hosts, which the store adds; that nothing is missing at the ends of chains")
    _tell_keys(links)


def _tell_keys(links: Links) -> None:
    keys = {chain.key.hex(): host for (host, _), chain in links.chains.items() if chain.key}
    if links.trusted:
        return
    print("  that the signing keys are the hosts' own: compare, or give them with --key")
    for key, host in list(keys.items())[:MOST_KEYS]:
        print(f"    {show(host)} {key}")
