"""Events that match, a page at a time: walks batches in order of time, opens what may match."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from chassis import clock
from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from evidence.lineage import Above, Lineage, copied
from evidence.matching import Matcher, term_groups
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store import naming
from services.store.domain.bounding import bounded
from services.store.domain.paging import Collector, Page, Position
from services.store.repository.batches import Batches
from services.store.repository.candidates import Candidates, Row
from services.store.repository.conditions import Wanted
from services.store.repository.filters import check_events, time_span
from services.store.repository.hosts import Hosts
from services.store.repository.sessions import Sessions

MOST_BATCHES = 5000
"""Bodies opened for one answer."""
MOST_S = 4.0
"""Time after which an answer ends with what is sure."""
FIRST_OPENED, MOST_OPENED = 2, 64
"""Bodies read at once, at first and later."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One event that matches."""

    position: Position
    header: delivery.BatchHeader
    header_hash: bytes
    image: events.Image | None
    event: events.Event
    above: Above = ()
    """What stands above the image, nearest first."""


class Search:
    """Finds events."""

    def __init__(
        self, batches: Batches, candidates: Candidates, hosts: Hosts, sessions: Sessions
    ) -> None:
        """Read from these."""
        self._batches, self._candidates = batches, candidates
        self._hosts, self._sessions = hosts, sessions

    async def wanted(self, asked: pb.EventFilter) -> Wanted:
        """Return what is asked of batches.

        Raises:
            QueryError: too many values, empty ones, or texts that are too long.
            HostUnknownError: one of the hosts does not exist.
        """
        check_events(asked)
        span = time_span(asked)
        hosts = tuple(await naming.ids_of(asked.hosts, self._hosts)) if asked.hosts else None
        return Wanted(
            hosts,
            tuple(dict.fromkeys(asked.herds)),
            span.get("$gte"),
            span.get("$lte"),
            tuple(term_groups(asked)),
        )

    async def page(
        self,
        asked: pb.EventFilter,
        after: Position | None,
        limit: int,
        *,
        ascending: bool,
        without: str = "",
    ) -> Page[Hit]:
        """Return the events behind `after`, at most `limit`, none of the kind `without`.

        Raises:
            QueryError: the filter cannot be asked for.
        """
        wanted = _behind(await self.wanted(asked), after, ascending=ascending)
        matcher = Matcher(asked, without)
        collector: Collector[Hit] = Collector(limit, ascending, after)
        start = wanted.from_ns if ascending else wanted.to_ns
        deadline = time.monotonic() + MOST_S
        opened = 0
        async for bound, rows in self._parts(wanted, collector, ascending=ascending):
            # What was spent on one moment alone would be spent again by the next page.
            moved = start is None or (bound > start if ascending else bound < start)
            if moved and (opened >= MOST_BATCHES or time.monotonic() > deadline):
                return collector.cut_at(bound)
            opened += len(rows)
            part = await self._batches.joined(rows)
            collector.add(await asyncio.to_thread(_hits, part, matcher, collector))
        return collector.page()

    async def _parts(
        self, wanted: Wanted, collector: Collector[Hit], *, ascending: bool
    ) -> AsyncIterator[tuple[int, list[Row]]]:
        """Yield (bound, rows) to be opened together, until nothing that follows finds room."""
        part: list[Row] = []
        bound, size = 0, FIRST_OPENED
        async for next_bound, row in self._candidates.walk(wanted, ascending=ascending):
            if part and (len(part) >= size or collector.settled(next_bound)):
                yield bound, part
                part, size = [], min(size * 2, MOST_OPENED)
            if collector.settled(next_bound):
                collector.more = True
                return
            if not part:
                bound = next_bound
            if ascending and collector.settled(row["t0"]):
                collector.more = True
            else:
                part.append(row)
        if part:
            yield bound, part

    async def records(self, hits: Sequence[Hit]) -> list[pb.EventRecord]:
        """Return hits as messages, with names of hosts and late facts of sessions."""
        names = await self._hosts.known(sorted({hit.header.host_id for hit in hits}))
        records = [_record(hit, names.get(hit.header.host_id, {})) for hit in hits]
        await self._sessions.join([r for r in records if r.HasField("image")])
        return records


def _behind(wanted: Wanted, after: Position | None, *, ascending: bool) -> Wanted:
    """Return `wanted` without the times that earlier pages have shown."""
    if after is None:
        return wanted
    if ascending:
        first = after.time_ns if wanted.from_ns is None else max(wanted.from_ns, after.time_ns)
        return replace(wanted, from_ns=first)
    last = after.time_ns if wanted.to_ns is None else min(wanted.to_ns, after.time_ns)
    return replace(wanted, to_ns=last)


def opened(row: Row, body: bytes, matcher: Matcher) -> tuple[delivery.BatchHeader, Any] | None:
    """Return header and body of a batch that may hold events that match; None: it does not.

    Also None when the body is gone, or this version cannot read it.
    """
    header = delivery.BatchHeader.FromString(row["k"])
    if not body or header.body_format != 1 or not matcher.herd(header.herd):
        return None
    try:
        raw = open_frame(body, header.body_size_bytes)
        if not matcher.may_hold(raw):
            return None
        return header, events.EventBatch.FromString(raw)
    except (BadFrameError, SizeMismatchError, DecodeError):
        return None


def _hits(
    part: Sequence[tuple[Row, bytes]], matcher: Matcher, collector: Collector[Hit]
) -> list[Hit]:
    found: list[Hit] = []
    for row, frame in part:
        content = opened(row, frame, matcher)
        if content is None:
            continue
        header, body = content
        key = row["_id"]
        positions = [
            Position(clock.from_timestamp(body.events[place].event_time), key, place)
            for place in matcher.places(body)
        ]
        positions = [position for position in positions if collector.behind(position)]
        if len(positions) > collector.limit:
            positions.sort(reverse=not collector.ascending)
            collector.more = True
            del positions[collector.limit :]
        if positions:
            header_hash = hashlib.sha256(row["k"]).digest()
            lineage = Lineage(body)
            found += [_hit(each, header, header_hash, body, lineage) for each in positions]
    return found


def _hit(
    position: Position,
    header: delivery.BatchHeader,
    header_hash: bytes,
    body: events.EventBatch,
    lineage: Lineage,
) -> Hit:
    # Copies: a part of a message keeps all of it in memory.
    event, image = events.Event(), None
    above: Above = ()
    event.CopyFrom(body.events[position.place])
    if event.HasField("actor") and 0 <= event.actor < len(body.images):
        image = events.Image()
        image.CopyFrom(body.images[event.actor])
        above = tuple(bounded(copied(each)) for each in lineage.above(image))
        image.ClearField("ancestor")
        bounded(image)
    return Hit(position, header, header_hash, image, event, above)


def _record(hit: Hit, host: dict[str, Any]) -> pb.EventRecord:
    header = hit.header
    return pb.EventRecord(
        host_id=header.host_id,
        hostname=host.get("name") or "",
        herd=header.herd,
        chain_id=header.chain_id,
        batch_number=header.batch_number,
        place=hit.position.place,
        boot_id=header.boot_id,
        origin=header.origin,
        image=hit.image,
        ancestors=hit.above,
        event=hit.event,
        batch_hash=hit.header_hash,
        batch_id=hit.position.key,
    )
