"""Sealing: events become a batch that can be proved: numbered, linked, hashed, signed."""

import hashlib
from dataclasses import dataclass

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.stages.fold import Made, Repeats
from agent.stages.redact import rules
from agent.stages.terms import index_of
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

URGENT_NS = 100_000_000
LINGER_NS = 10_000_000_000
MOST_EVENTS = 500
MOST_BYTES = 256 << 10
BODY_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: what the next batch must name."""

    chain_id: bytes
    number: int
    hash: bytes
    """SHA-256 of the last header; b"" before the first batch."""


@dataclass(frozen=True, slots=True)
class Host:
    """What every header of this host says."""

    host_id: str
    herd: str
    boot_id: str
    agent_version: str
    origin: "delivery.Origin.ValueType" = delivery.ORIGIN_LIVE


class Collector:
    """Collects events until it is time to seal them."""

    def __init__(self) -> None:
        """Begin empty."""
        self._body = events.EventBatch()
        self._places: dict[str, tuple[int, events.Image]] = {}
        self._repeats = Repeats()
        self._bytes = 0
        self._due_ns = 0

    def __len__(self) -> int:
        """Events collected."""
        return len(self._body.events)

    def add(self, made: Made, boot_ns: int) -> None:
        """Add one event; an image counts once."""
        if self._repeats.fold(made):
            return
        if not self._body.events:
            self._due_ns = boot_ns + LINGER_NS
        if made.urgent:
            self._due_ns = min(self._due_ns, boot_ns + URGENT_NS)
        event = made.event
        if made.image is not None:
            event.actor = self._place(made.image)
        self._body.events.append(event)
        kept = self._body.events[-1]
        if event.WhichOneof("kind") in Repeats.FOLDED:
            # append copies: repeats must be counted in the copy that is sealed.
            self._repeats.keep(made, kept)
        self._bytes += kept.ByteSize()

    def _place(self, image: events.Image) -> int:
        found = self._places.get(image.exec_id)
        # The same image said with more (address, DETACHED) is a further entry: events before keep
        # what was known then.
        if found is not None and (found[1] is image or found[1] == image):
            return found[0]
        place = len(self._body.images)
        self._body.images.append(image)
        self._places[image.exec_id] = (place, image)
        self._bytes += image.ByteSize()
        return place

    @property
    def full(self) -> bool:
        """Whether nothing more should be added before it is sealed."""
        return len(self._body.events) >= MOST_EVENTS or self._bytes >= MOST_BYTES

    def due(self, boot_ns: int) -> bool:
        """Whether what is collected should be sealed now."""
        return len(self._body.events) > 0 and (boot_ns >= self._due_ns or self.full)

    def take(self) -> events.EventBatch:
        """Return what is collected and begin anew."""
        body = self._body
        self._body, self._bytes = events.EventBatch(), 0
        self._places = {}
        self._repeats.clear()
        return body


class Sealer:
    """Seals bodies into one chain."""

    def __init__(self, host: Host, key: Ed25519PrivateKey, link: Link) -> None:
        """Go on with the chain at `link`, signing every batch: a signature costs 50 µs."""
        self._host, self._key, self.link = host, key, link
        self._compressor = zstandard.ZstdCompressor(level=3)

    def seal(self, body: events.EventBatch, wall_minus_boot_ns: int) -> delivery.SealedBatch:
        """Return `body` as the next batch of the chain; the chain moves on."""
        raw = body.SerializeToString()
        first, last = _span(body)
        header = delivery.BatchHeader(
            host_id=self._host.host_id,
            chain_id=self.link.chain_id,
            batch_number=self.link.number + 1,
            previous_hash=self.link.hash,
            body_hash=hashlib.sha256(raw).digest(),
            body_size_bytes=len(raw),
            event_count=len(body.events),
            sealed_time=clock.to_timestamp(clock.wall_ns()),
            first_event_time=clock.to_timestamp(first),
            last_event_time=clock.to_timestamp(last),
            boot_id=self._host.boot_id,
            wall_minus_boot_ns=wall_minus_boot_ns,
            herd=self._host.herd,
            origin=self._host.origin,
            body_format=BODY_FORMAT,
            redaction_version=rules().version,
            agent_version=self._host.agent_version,
        ).SerializeToString()
        header_hash = hashlib.sha256(header).digest()
        batch = delivery.SealedBatch(
            header=header,
            signature=self._key.sign(header_hash),
            body=self._compressor.compress(raw),
            index=index_of(body),
        )
        self.link = Link(self.link.chain_id, self.link.number + 1, header_hash)
        return batch


def _span(body: events.EventBatch) -> tuple[int, int]:
    """Return the earliest and the latest moment of a body, in wall ns."""
    first = min(clock.from_timestamp(event.event_time) for event in body.events)
    last = max(
        max(clock.from_timestamp(event.event_time), clock.from_timestamp(event.last_event_time))
        for event in body.events
    )
    return first, last
