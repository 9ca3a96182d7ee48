"""Whether a stored batch is what was sealed, and its header and index say what it holds."""

import hashlib
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from chassis import clock
from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from evidence.terms import index_of
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events


@dataclass(slots=True)
class Scrubbed:
    """What was found in one batch."""

    broken: str = ""
    """Why it is not what was sealed; empty: it is."""
    lies: list[str] = field(default_factory=list)
    """What the header says that the body does not."""
    index: delivery.Index | None = None
    """What the index should be; None: not known."""
    first_ns: int = 0
    last_ns: int = 0
    """When its events really are."""


def scrub(header: bytes, body: bytes) -> Scrubbed:
    """Open one batch and compare."""
    try:
        said = delivery.BatchHeader.FromString(header)
    except DecodeError:
        return Scrubbed("its header cannot be read")
    if said.body_format != 1:
        return Scrubbed()
    try:
        content = open_frame(body, said.body_size_bytes)
    except (BadFrameError, SizeMismatchError) as error:
        return Scrubbed(str(error))
    if hashlib.sha256(content).digest() != said.body_hash:
        return Scrubbed("its body is not the one that was sealed")
    try:
        batch = events.EventBatch.FromString(content)
    except DecodeError:
        return Scrubbed(lies=["its body is no batch of events"])
    return _compared(said, batch)


def _compared(said: delivery.BatchHeader, batch: events.EventBatch) -> Scrubbed:
    found = Scrubbed(index=index_of(batch))
    first, last = (
        clock.from_timestamp(said.first_event_time),
        clock.from_timestamp(said.last_event_time),
    )
    if said.event_count != len(batch.events):
        found.lies.append(f"it says {said.event_count} events and holds {len(batch.events)}")
    times = [clock.from_timestamp(event.event_time) for event in batch.events]
    ends = [
        clock.from_timestamp(event.last_event_time)
        for event in batch.events
        if event.HasField("last_event_time")
    ]
    found.first_ns, found.last_ns = min([first, *times]), max([last, *times, *ends])
    if (found.first_ns, found.last_ns) != (first, last):
        found.lies.append("it holds events of other times than it says")
    return found
