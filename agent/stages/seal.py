"""Sealing: events become a batch that can be proved: numbered, linked, hashed, signed."""

import hashlib
from dataclasses import dataclass

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.lines import Ran, nearest
from agent.stages.bounds import Bounds, smaller_image
from agent.stages.fold import Made, Repeats
from agent.stages.redact import rules
from agent.stages.table import Table
from agent.stages.wire_format import key, varint
from chassis import clock
from evidence.terms import Actor, Terms, index_of
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

URGENT_NS = 100_000_000
LINGER_NS = 10_000_000_000
MOST_EVENTS = 500
MOST_BYTES = 256 << 10
DEFAULT_LIMIT_BYTES = 4 << 20
"""What a receiver takes that does not say it."""
LEAST_LIMIT_BYTES = 16 << 10
"""A receiver that takes less is not heeded: every event would be a batch."""
_OVERHEAD = 5
"""Bytes by which a body grows beside what an entry of it says."""
_COUNT_BYTES = 24
"""Bytes by which an event grows when repeats are counted into it."""
BODY_FORMAT = 1
_IMAGE = key(events.EventBatch.IMAGES_FIELD_NUMBER)
_EVENT = key(events.EventBatch.EVENTS_FIELD_NUMBER)
_ANCESTOR = key(events.EventBatch.ANCESTORS_FIELD_NUMBER)
_ABOVE = key(events.Image.ANCESTOR_FIELD_NUMBER, delimited=False)


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


@dataclass(frozen=True, slots=True)
class Body:
    """What is sealed: a serialised EventBatch, and what header and index say about it."""

    raw: bytes
    event_count: int
    first_ns: int
    """Earliest moment in it, wall ns."""
    last_ns: int
    index: delivery.Index

    @classmethod
    def of(cls, batch: events.EventBatch) -> "Body":
        """Return a batch that was made elsewhere as a body."""
        span = _Span()
        for event in batch.events:
            span.add(event)
        return cls(
            batch.SerializeToString(),
            len(batch.events),
            span.first_ns,
            span.last_ns,
            index_of(batch),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A body of a boot that need not be this machine's current one."""

    body: Body
    boot_id: str
    wall_minus_boot_ns: int


class _Span:
    """From when to when events are."""

    def __init__(self) -> None:
        self.first_ns, self.last_ns = clock.LIMIT, -clock.LIMIT

    def add(self, event: events.Event) -> int:
        """Note an event; return the second at which it happened."""
        time = event.event_time
        second = time.seconds
        time_ns = second * clock.NS + time.nanos
        self.first_ns = min(self.first_ns, time_ns)
        if event.HasField("last_event_time"):
            time_ns = max(time_ns, clock.from_timestamp(event.last_event_time))
        self.last_ns = max(self.last_ns, time_ns)
        return second


class Collector:
    """Collects events until it is time to seal them.

    What cannot change any more is kept as bytes: a message added to another is copied field by
    field, which costs more than making it did.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._repeats = Repeats()
        self._limit_bytes, self._most_bytes = DEFAULT_LIMIT_BYTES, MOST_BYTES
        self.bounds = Bounds.within(self._limit_bytes)
        self._begin()

    def _begin(self) -> None:
        self._images: list[bytes] = []
        self._places: dict[str, tuple[int, events.Image, Actor, bool]] = {}
        self._table = Table()
        self._events: list[bytes | tuple[events.Event, Actor | None]] = []
        self._repeats.clear()
        self._terms = Terms()
        self._span = _Span()
        self._bytes = 0
        self._due_ns = 0

    def __len__(self) -> int:
        """Events collected."""
        return len(self._events)

    def add(self, made: Made, boot_ns: int) -> bool:
        """Add one event that is within `bounds`; an image and an ancestor count once.

        Says whether it is full now: then it is to be taken before more is added.
        """
        event, kind = made.event, made.kind
        key = Repeats.key(made) if kind in Repeats.FOLDED else None
        if key is not None and self._repeats.fold(key, event):
            return False
        if not self._events:
            self._due_ns = boot_ns + LINGER_NS
        if made.urgent:
            self._due_ns = min(self._due_ns, boot_ns + URGENT_NS)
        actor: Actor | None = None
        if made.ran is not None:
            event.actor, _, actor, cut = self._place(made.ran)
            if cut:
                event.cut = True
        if key is not None:
            self._repeats.keep(key, event)
            self._events.append((event, actor))
            self._bytes += event.ByteSize() + _OVERHEAD + _COUNT_BYTES
        else:
            self._terms.event(event, kind, self._span.add(event), actor)
            content = event.SerializeToString()
            self._events.append(content)
            self._bytes += len(content) + _OVERHEAD
        return self.full

    def limit(self, body_size_bytes: int) -> None:
        """Keep bodies below what a receiver takes: half of it, and the other half is for one event.

        An event with its image and what stands above that takes three eighths at most.
        """
        if body_size_bytes > 0:
            limit = max(body_size_bytes, LEAST_LIMIT_BYTES)
            self._limit_bytes = min(self._limit_bytes, limit)
            self._most_bytes = min(MOST_BYTES, self._limit_bytes // 2)
            self.bounds = Bounds.within(self._limit_bytes)

    def _place(self, ran: Ran) -> tuple[int, events.Image, Actor, bool]:
        image, above = ran
        found = self._places.get(image.exec_id)
        # The same image said with more (address, DETACHED) is a further entry: events before keep
        # what was known then.
        if found is not None and (found[1] is image or found[1] == image):
            return found
        smaller = smaller_image(image, self.bounds)
        told, cut = (image, False) if smaller is None else (smaller, True)
        content = told.SerializeToString()
        if above is not None and above.size_bytes > self.bounds.line:
            above, cut = nearest(above, self.bounds.line), True
        if above is not None:
            content += _ABOVE + varint(self._table.place(above))
        place = (len(self._images), image, Terms.actor(told), cut)
        self._images.append(content)
        self._places[image.exec_id] = place
        self._bytes += len(content) + _OVERHEAD
        return place

    @property
    def full(self) -> bool:
        """Whether nothing more should be added before it is sealed."""
        size = self._bytes + self._table.size_bytes
        return size >= self._most_bytes or len(self._events) >= MOST_EVENTS

    def due(self, boot_ns: int) -> bool:
        """Whether what is collected should be sealed now."""
        return len(self._events) > 0 and (boot_ns >= self._due_ns or self.full)

    def take(self) -> Body:
        """Return what is collected and begin anew."""
        parts: list[bytes] = []
        for image in self._images:
            parts += (_IMAGE, varint(len(image)), image)
        for entry in self._events:
            if isinstance(entry, bytes):
                content = entry
            else:
                event, actor = entry
                kind = event.WhichOneof("kind") or ""
                self._terms.event(event, kind, self._span.add(event), actor)
                content = event.SerializeToString()
            parts += (_EVENT, varint(len(content)), content)
        for ancestor in self._table.entries:
            parts += (_ANCESTOR, varint(len(ancestor)), ancestor)
        body = Body(
            b"".join(parts),
            len(self._events),
            self._span.first_ns,
            self._span.last_ns,
            self._terms.index(),
        )
        self._begin()
        return body


class Sealer:
    """Seals bodies into one chain."""

    def __init__(self, host: Host, key: Ed25519PrivateKey, link: Link) -> None:
        """Go on with the chain at `link`, signing every batch: a signature costs 50 µs."""
        self._host, self._key, self.link = host, key, link
        self._compressor = zstandard.ZstdCompressor(level=3)

    def seal(self, body: Body, wall_minus_boot_ns: int, boot_id: str = "") -> delivery.SealedBatch:
        """Return `body` as the next batch of the chain; the chain moves on.

        Args:
            body: what happened.
            wall_minus_boot_ns: wall clock minus boot clock.
            boot_id: in which boot; "" in the one the host is in.
        """
        header = delivery.BatchHeader(
            host_id=self._host.host_id,
            chain_id=self.link.chain_id,
            batch_number=self.link.number + 1,
            previous_hash=self.link.hash,
            body_hash=hashlib.sha256(body.raw).digest(),
            body_size_bytes=len(body.raw),
            event_count=body.event_count,
            sealed_time=clock.to_timestamp(clock.wall_ns()),
            first_event_time=clock.to_timestamp(body.first_ns),
            last_event_time=clock.to_timestamp(body.last_ns),
            boot_id=boot_id or self._host.boot_id,
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
            body=self._compressor.compress(body.raw),
            index=body.index,
        )
        self.link = Link(self.link.chain_id, self.link.number + 1, header_hash)
        return batch
