"""Whether a chain is whole: numbers, links, hashes, signatures, batch after batch."""

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from nightherd.event.v1 import delivery_pb2 as pb
from services.store.domain.holes import Holes

MAX_FAULTS = 100
BODY_MISSING = "body missing"
ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch as it lies in the store."""

    number: int
    header: bytes
    signature: bytes
    body: bytes | None
    """None: it is not there."""
    fork: bool
    """True for another version of a number that was there already."""
    removed: bool = False
    """True when a mark says that the body was removed on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a chain."""

    number: int
    kind: str
    detail: str


@dataclass(slots=True)
class ChainCheck:
    """Walks one chain in the order of its numbers. Feed it with `see`, then read the result."""

    signing_key: bytes | None
    whole: bool = True
    """Whether the walk begins at the chain's beginning: then number 1 must be there."""
    expected: dict[int, str] = field(default_factory=dict)
    """Number -> hash (hex) that somebody vouched for; taken out as they are found."""
    gone: int = 0
    """Numbers up to here may be missing: retention dropped days of headers."""
    holes: Holes = field(default_factory=Holes)
    """What is missing, and what the host's agent said of it."""
    first: int = 0
    last: int = 0
    batch_count: int = 0
    event_count: int = 0
    signed_count: int = 0
    header_only_count: int = 0
    head_hash: bytes = b""
    faults: list[Fault] = field(default_factory=list)

    def see(self, batch: Stored) -> None:
        """Check the next batch against all before it."""
        if batch.fork or batch.number == self.last:
            self._fault(batch.number, "fork", "a second version of this batch came from the host")
            return
        header = self._header(batch)
        header_hash = hashlib.sha256(batch.header).digest()
        signed = self._signature(batch, header_hash)
        if header is not None:
            self._follows(batch.number, header)
            self._body(batch, header, signed=signed)
            self.event_count += header.event_count
        expected = self.expected.pop(batch.number, header_hash.hex())
        if expected != header_hash.hex():
            self._fault(batch.number, ROLLED_BACK, "it is not the one that was vouched for")
        self.first = self.first or batch.number
        self.last, self.head_hash = batch.number, header_hash
        self.batch_count += 1

    def end(self) -> None:
        """Say what did not come. To be called once, behind the last batch."""
        for first, last in self.holes.missing():
            count = last - first + 1
            self._fault(first, "missing", f"{count} batches before {last + 1} are missing")
        for number in sorted(number for number in self.expected if number > self.gone):
            self._fault(number, ROLLED_BACK, "it was vouched for and is not there")
        self.faults.sort(key=lambda fault: fault.number)

    def _header(self, batch: Stored) -> pb.BatchHeader | None:
        try:
            header = pb.BatchHeader.FromString(batch.header)
        except DecodeError:
            self._fault(batch.number, "header", "the header cannot be read")
            return None
        if header.batch_number != batch.number:
            self._fault(batch.number, "header", f"the header says number {header.batch_number}")
        return header

    def _follows(self, number: int, header: pb.BatchHeader) -> None:
        if (self.last or self.whole) and number != self.last + 1:
            known = max(self.last, self.gone)
            if number > known + 1:
                self.holes.add(known + 1, number - 1)
        elif self.last and header.previous_hash != self.head_hash:
            self._fault(number, "broken link", "it does not name the hash of the batch before it")
        elif number == 1 and header.previous_hash:
            self._fault(number, "broken link", "the first batch names one before it")

    def _body(self, batch: Stored, header: pb.BatchHeader, *, signed: bool) -> None:
        if batch.body is None:
            if batch.removed:
                self.header_only_count += 1
            else:
                self._fault(batch.number, BODY_MISSING, "nothing says that it was removed")
            return
        if header.body_format != 1:
            return
        try:
            content = open_frame(batch.body, header.body_size_bytes)
        except BadFrameError as error:
            self._fault(batch.number, "body hash", str(error))
        except SizeMismatchError as error:
            self._fault(batch.number, "body size", str(error))
        else:
            if hashlib.sha256(content).digest() != header.body_hash:
                self._fault(batch.number, "body hash", "the body is not the one that was sealed")
            elif signed and self.holes.asks(batch.number):
                self.holes.hear(content)

    def _signature(self, batch: Stored, header_hash: bytes) -> bool:
        """Check the signature; whether it is there and good."""
        if not batch.signature or self.signing_key is None:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.signing_key).verify(
                batch.signature, header_hash
            )
        except (InvalidSignature, ValueError):
            self._fault(batch.number, "signature", "the signature is not the host's")
        else:
            self.signed_count += 1
            return True
        return False

    def _fault(self, number: int, kind: str, detail: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(number, kind, detail))
