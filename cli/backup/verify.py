"""`nightherd backup verify`: offline, against the manifest and against the chains themselves."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from chassis.mongo import InvalidBSON, decode
from cli.backup import keys
from cli.backup.folder import BackupError, Dumped, documents, read_manifest
from delivery.frames import open_frame
from evidence.removals import Batch, Removal, of_document
from nightherd.event.v1 import delivery_pb2 as pb

HEADERS, BODIES, KEPT_BODIES = "batches_", "bodies_", "kept_bodies"
MAX_FAULTS = 100
FORK_PARTS = 4
"""Parts of a fork's id: host, chain, number, hash."""


_Expected = tuple[bytes, int, int]
"""What a body must be: its hash, size and format."""


@dataclass(slots=True)
class _Chain:
    """Links of one chain, in whatever order its batches come."""

    ends: dict[int, bytes] = field(default_factory=dict)
    """Number -> hash, of batches whose follower did not come yet."""
    begins: dict[int, bytes] = field(default_factory=dict)
    """Number -> hash named, of batches before which nothing came yet."""
    last: int = 0


@dataclass(slots=True)
class Report:
    """What was found."""

    documents: int = 0
    batches: int = 0
    header_only: int = 0
    holes: int = 0
    """Stretches of numbers that are missing in chains, as they were in the store."""
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note that something is wrong."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)


class _Evidence:
    def __init__(self, folder: Path, report: Report) -> None:
        self._folder, self._report = folder, report
        self._chains: dict[str, _Chain] = {}
        self._removals: list[Removal] = []
        self._kept: dict[str, _Expected | None] = {}

    def removal(self, row: dict[str, Any]) -> None:
        """Take a mark; all of them come before the first day."""
        if "host" in row:
            self._removals.append(of_document(row))

    def kept(self, row: dict[str, Any]) -> None:
        """Take the id of a body that an incident keeps; all of them come before the first day."""
        self._kept[row["_id"]] = None

    def kept_body(self, row: dict[str, Any]) -> None:
        """Check such a body; they come once more behind the last day."""
        expected = self._kept[row["_id"]]
        if expected is not None:
            self._body(row, *expected)

    def day(self, headers: Dumped, bodies: Dumped | None) -> None:
        """Check the batches of one day: what is held in memory is a hash a batch of that day."""
        wanted: dict[str, tuple[bytes, int, int, Batch]] = {}
        for document in documents(self._folder, headers):
            row = decode(document)
            said = self._header(row)
            if said is not None:
                marked = Batch(row["h"], headers.name, row["s"], row["t0"], row["t1"], row["r"])
                size, version = said.body_size_bytes, said.body_format
                wanted[row["_id"]] = (said.body_hash, size, version, marked)
        if bodies is not None:
            for document in documents(self._folder, bodies):
                row = decode(document)
                expected = wanted.pop(row["_id"], None)
                if expected is not None:
                    self._body(row, *expected[:3])
        for key, (body_hash, size, version, marked) in wanted.items():
            if key in self._kept:
                self._kept[key] = (body_hash, size, version)
            elif any(removal.covers(marked) for removal in self._removals):
                self._report.header_only += 1
            else:
                self._report.fault(f"{key}: its body is missing, and nothing says it was removed")

    def _header(self, row: dict[str, Any]) -> pb.BatchHeader | None:
        self._report.batches += 1
        key, header = row["_id"], bytes(row["k"])
        try:
            said = pb.BatchHeader.FromString(header)
        except DecodeError:
            self._report.fault(f"{key}: its header cannot be read")
            return None
        number = said.batch_number
        if not key.startswith(f"{said.host_id}/{said.chain_id.hex()}/{number:015d}"):
            self._report.fault(f"{key}: its header is of another batch")
        elif key.count("/") < FORK_PARTS - 1:
            chain = self._chains.setdefault(key.rpartition("/")[0], _Chain())
            self._link(key, chain, said, hashlib.sha256(header).digest())
        return said

    def _link(self, key: str, chain: _Chain, said: pb.BatchHeader, hashed: bytes) -> None:
        number, before = said.batch_number, said.previous_hash
        chain.last = max(chain.last, number)
        known = chain.ends.pop(number - 1, None)
        if (known is not None and known != before) or (number == 1 and before):
            self._report.fault(f"{key}: it does not continue the batch before it")
        if known is None and number > 1:
            chain.begins[number] = before
        named = chain.begins.pop(number + 1, None)
        if named is None:
            chain.ends[number] = hashed
        elif named != hashed:
            self._report.fault(f"{key}: the batch behind it does not continue it")

    def _body(self, row: dict[str, Any], body_hash: bytes, size: int, version: int) -> None:
        if version != 1:
            return
        plain = row.get("p")  # small bodies lie as they were before compression
        try:
            content = open_frame(bytes(row["b"]), size) if plain is None else bytes(plain)
        except ValueError as error:
            self._report.fault(f"{row['_id']}: {error}")
            return
        if hashlib.sha256(content).digest() != body_hash:
            self._report.fault(f"{row['_id']}: the body is not the one that was sealed")

    def chain(self, row: dict[str, Any]) -> None:
        """Check that what a chain's document says is there."""
        chain = self._chains.get(row["_id"], _Chain())
        # Days of headers that retention dropped leave no hole.
        gone = row.get("gone", 0)
        for number in [number for number in chain.begins if number <= gone + 1]:
            del chain.begins[number]
        there = max(chain.last, gone)
        if row.get("last", 0) > there:
            self._report.fault(f"{row['_id']}: batches {there + 1} to {row['last']} are missing")

    def end(self) -> None:
        """Count the holes."""
        self._report.holes = sum(len(chain.begins) for chain in self._chains.values())


def verify(folder: Path) -> Report:
    """Check a backup.

    Raises:
        BackupError: there is none, or it is not what its manifest says.
    """
    manifest, _ = read_manifest(folder)
    keys.check(folder, manifest.keys)
    report = Report(documents=sum(each.documents for each in manifest.collections))
    of_store = {each.name: each for each in manifest.collections if each.program == "store"}
    evidence = _Evidence(folder, report)
    _each(folder, of_store.get("removals"), evidence.removal)
    _each(folder, of_store.get(KEPT_BODIES), evidence.kept)
    seen = {"removals", "chains", KEPT_BODIES}
    for name, dumped in sorted(of_store.items()):
        if name.startswith(HEADERS):
            bodies = of_store.get(BODIES + name.removeprefix(HEADERS))
            seen |= {name} | ({bodies.name} if bodies else set())
            try:
                evidence.day(dumped, bodies)
            except (InvalidBSON, KeyError, TypeError, ValueError) as error:
                raise BackupError(f"{dumped.file}: not what the store writes: {error}") from None
    _each(folder, of_store.get(KEPT_BODIES), evidence.kept_body)
    _each(folder, of_store.get("chains"), evidence.chain)
    evidence.end()
    for dumped in manifest.collections:
        if dumped.program != "store" or dumped.name not in seen:
            _each(folder, dumped, lambda _: None)
    return report


def _each(folder: Path, dumped: Dumped | None, take: Callable[[dict[str, Any]], None]) -> None:
    if dumped is None:
        return
    for document in documents(folder, dumped):
        try:
            take(decode(document))
        except (InvalidBSON, KeyError, TypeError, ValueError) as error:
            raise BackupError(f"{dumped.file}: not what the store writes: {error}") from None
