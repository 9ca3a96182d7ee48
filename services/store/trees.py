"""The process tree around an event: reads a host's batches near it."""

import asyncio
import time
from collections.abc import Sequence

from chassis import clock
from chassis.errors import NotFoundError
from evidence.lineage import Lineage
from evidence.matching import Matcher
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.domain.tree import Seen, around
from services.store.repository.batches import Batches
from services.store.repository.candidates import Candidates, Row
from services.store.repository.conditions import Wanted
from services.store.repository.filters import QueryError
from services.store.search import Search, opened

DEFAULT_S, MOST_AROUND_S = 600, 86_400
MOST_BATCHES, MOST_IMAGES, MOST_S = 2000, 50_000, 8.0
PART = 32


class ProcessUnknownError(NotFoundError):
    """No event of such a process is stored."""

    reason = "PROCESS_UNKNOWN"


class Trees:
    """Finds what surrounds a process."""

    def __init__(self, search: Search, batches: Batches, candidates: Candidates) -> None:
        """Read from these."""
        self._search, self._batches, self._candidates = search, batches, candidates

    async def around(self, asked: pb.GetProcessTreeRequest) -> pb.GetProcessTreeResponse:
        """Return the processes around one.

        Raises:
            QueryError: a stretch that is too long.
            ProcessUnknownError: no event of it is there.
        """
        if not 0 <= asked.around_seconds <= MOST_AROUND_S:
            raise QueryError(f"around_seconds: at most {MOST_AROUND_S}")
        wanted = pb.EventFilter(hosts=[asked.host_id], exec_ids=[asked.exec_id])
        found = await self._search.page(wanted, None, 1, ascending=False)
        hit = found.entries[0] if found.entries else None
        if hit is None or hit.image is None:
            raise ProcessUnknownError(f"no event of {asked.exec_id[:100]} is stored")
        margin = (asked.around_seconds or DEFAULT_S) * clock.NS
        began = hit.position.time_ns
        if hit.image.HasField("start_time"):
            began = clock.from_timestamp(hit.image.start_time)
        seen: dict[str, Seen] = {}
        span = Wanted((asked.host_id,), (), began - margin, began + margin)
        complete = await self._read(span, seen)
        seen.setdefault(asked.exec_id, Seen(hit.image, hit.above))
        nodes, whole = around(asked.exec_id, seen)
        return pb.GetProcessTreeResponse(nodes=nodes, complete=complete and whole)

    async def _read(self, wanted: Wanted, seen: dict[str, Seen]) -> bool:
        deadline = time.monotonic() + MOST_S
        part: list[Row] = []
        read = 0
        async for _, row in self._candidates.walk(wanted, ascending=True):
            part.append(row)
            if len(part) < PART:
                continue
            read += len(part)
            await self._note(part, seen)
            part = []
            if read >= MOST_BATCHES or len(seen) >= MOST_IMAGES or time.monotonic() > deadline:
                return False
        await self._note(part, seen)
        return True

    async def _note(self, rows: Sequence[Row], seen: dict[str, Seen]) -> None:
        joined = await self._batches.joined(rows)
        await asyncio.to_thread(_note, joined, seen)


def _note(joined: Sequence[tuple[Row, bytes]], seen: dict[str, Seen]) -> None:
    everything = Matcher(pb.EventFilter())
    for row, frame in joined:
        content = opened(row, frame, everything)
        if content is None:
            continue
        _, body = content
        # A copy: what is kept of a body would keep all of it in memory.
        table = events.EventBatch(ancestors=body.ancestors)
        lineage = Lineage(table)
        for event in body.events:
            if not (event.HasField("actor") and 0 <= event.actor < len(body.images)):
                continue
            image = body.images[event.actor]
            one = seen.get(image.exec_id)
            if one is None:
                copy = events.Image()
                copy.CopyFrom(image)
                copy.ClearField("ancestor")
                one = seen[image.exec_id] = Seen(copy, lineage.above(image))
            one.note(event)
