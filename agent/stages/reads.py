"""Reads of secrets, few events for many of them: each image says each secret once.

What it opens again is counted, and told when it ends or after ten minutes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.lines import Ran
from agent.sensors.records import ReadRecord
from agent.stages.fold import Made
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_MERGE_NS: Final = 1_000_000_000
"""How long one image's reads are collected at most."""
_AGAIN_NS: Final = 600_000_000_000
"""How long repeats are only counted."""
_MOST_READS: Final = 100
"""Paths in one event; further ones are counted."""
_MOST_IMAGES: Final = 2048
"""Images of which repeats are counted; of the longest known it is forgotten what they read."""
_MOST_REMEMBERED: Final = 256

_Attribution = "events.Attribution.ValueType"


class _Read(NamedTuple):
    """What was read: each once."""

    path: bytes
    secret: str
    used_path: bytes


@dataclass(slots=True)
class _Reader:
    """What one image reads."""

    ran: Ran | None
    attribution: "events.Attribution.ValueType"
    candidates: tuple[str, ...]
    reads: dict[_Read, int] = field(default_factory=dict)
    """Not told yet, how often."""
    cut: int = 0
    first_ns: int = 0
    """Of what is not told yet, on the boot clock."""
    last_ns: int = 0
    told: set[_Read] = field(default_factory=set)
    told_ns: int = 0
    waits_ns: int = 0
    """How long what is not told yet may wait."""


class Reads:
    """Collects reads of secrets per image."""

    def __init__(self) -> None:
        """Begin with none."""
        self._readers: dict[tuple[str, int], _Reader] = {}

    def add(
        self,
        record: ReadRecord,
        ran: Ran | None,
        attribution: "events.Attribution.ValueType",
        candidates: tuple[str, ...] = (),
    ) -> None:
        """Add one read."""
        key = (ran.image.exec_id if ran is not None else "", attribution)
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = _Reader(ran, attribution, candidates)
        read = _Read(record.path, record.secret, record.used_path)
        if not reader.reads and not reader.cut:
            reader.first_ns, reader.waits_ns = record.boot_ns, _AGAIN_NS
        reader.last_ns = record.boot_ns
        if read not in reader.told:
            reader.waits_ns = _MERGE_NS
        if read in reader.reads or len(reader.reads) < _MOST_READS:
            reader.reads[read] = reader.reads.get(read, 0) + 1
        else:
            reader.cut += 1

    def ended(self, exec_id: str, offset_ns: int) -> Iterator[Made]:
        """Tell what an image read: it exited, or runs another program now."""
        for attribution in (events.ATTRIBUTION_EXACT, events.ATTRIBUTION_INFERRED):
            reader = self._readers.pop((exec_id, attribution), None)
            if reader is not None and reader.reads:
                yield _made(reader, offset_ns)

    def due(self, boot_ns: int, offset_ns: int) -> Iterator[Made]:
        """Tell what has waited for long enough."""
        for key, reader in list(self._readers.items()):
            if reader.reads and boot_ns - reader.first_ns >= reader.waits_ns:
                yield _made(reader, offset_ns)
            elif not reader.reads and len(self._readers) > _MOST_IMAGES:
                del self._readers[key]

    def all(self, offset_ns: int) -> Iterator[Made]:
        """Tell everything (the agent stops)."""
        for reader in self._readers.values():
            if reader.reads:
                yield _made(reader, offset_ns)
        self._readers.clear()


def _made(reader: _Reader, offset_ns: int) -> Made:
    event = events.Event(
        event_time=clock.to_timestamp(reader.first_ns + offset_ns),
        attribution=reader.attribution,
        file_read=events.FileRead(
            reads=[
                events.FileRead.Read(
                    path=read.path,
                    secret=read.secret,
                    used_path=read.used_path,
                    count=count if count > 1 else 0,
                )
                for read, count in reader.reads.items()
            ],
            candidate_exec_ids=reader.candidates,
            reads_cut=reader.cut,
        ),
        cut=reader.cut > 0,
    )
    if reader.last_ns != reader.first_ns:
        event.last_event_time.CopyFrom(clock.to_timestamp(reader.last_ns + offset_ns))
    if len(reader.told) < _MOST_REMEMBERED:
        reader.told |= reader.reads.keys()
    reader.reads, reader.cut = {}, 0
    return Made(reader.ran, event, urgent=True)
