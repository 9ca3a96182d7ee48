"""How many events match: from headers where these say it exactly, else from opened bodies."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from chassis import clock
from chassis.text import show
from evidence.matching import Matcher, services_of, sessions_of
from evidence.subjects import paths_of
from evidence.users import effective_of, user_of
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.batches import Batches
from services.store.repository.candidates import Candidates, Row
from services.store.repository.counts import TERM_FACETS, Counts, counted_by_headers
from services.store.repository.filters import QueryError
from services.store.repository.hours import Sums
from services.store.search import MOST_OPENED, Search, opened

FACETS = ("host", "herd", "kind", *TERM_FACETS)
DEFAULT_TOP, MOST_TOP = 10, 100
MOST_BATCHES = 5000
MOST_S = 6.0
MINUTE_S = 60


class Summary:
    """Counts events."""

    def __init__(
        self, search: Search, batches: Batches, candidates: Candidates, counts: Counts
    ) -> None:
        """Read from these."""
        self._search, self._batches = search, batches
        self._candidates, self._counts = candidates, counts

    async def answer(self, asked: pb.SummariseEventsRequest) -> pb.SummariseEventsResponse:
        """Return the counts that `asked` names.

        Raises:
            QueryError: a facet that is none, or a slice that is no whole number of minutes.
        """
        top = _checked(asked)
        wanted = await self._search.wanted(asked.filter)
        sums = Sums.of(asked.facets)
        if counted_by_headers(asked.filter, tuple(asked.facets), asked.slice_seconds):
            rest = await self._counts.add(wanted, asked, sums)
            await self._open(rest, asked, sums)
        else:
            rows = self._candidates.walk(wanted, ascending=False)
            await self._open((row async for _, row in rows), asked, sums)
        return _response(asked, sums, top)

    async def _open(self, rows: object, asked: pb.SummariseEventsRequest, sums: Sums) -> None:
        matcher = Matcher(asked.filter)
        deadline = time.monotonic() + MOST_S
        part: list[Row] = []
        seen = 0
        async for row in rows:  # type: ignore[attr-defined]
            part.append(row)
            if len(part) < MOST_OPENED:
                continue
            seen += len(part)
            await self._count(part, matcher, asked, sums)
            part = []
            if seen >= MOST_BATCHES or time.monotonic() > deadline:
                sums.complete = False
                return
        await self._count(part, matcher, asked, sums)

    async def _count(
        self, rows: Sequence[Row], matcher: Matcher, asked: pb.SummariseEventsRequest, sums: Sums
    ) -> None:
        joined = await self._batches.joined(rows)
        await asyncio.to_thread(_count_bodies, joined, matcher, asked, sums)


def _checked(asked: pb.SummariseEventsRequest) -> int:
    if not 0 <= asked.top <= MOST_TOP:
        raise QueryError(f"top: at most {MOST_TOP}")
    if len(set(asked.facets)) < len(asked.facets) or not set(asked.facets) <= set(FACETS):
        raise QueryError(f"facets: each once, of {', '.join(FACETS)}")
    if asked.slice_seconds < 0 or asked.slice_seconds % MINUTE_S:
        raise QueryError("slice_seconds: a multiple of 60")
    return asked.top or DEFAULT_TOP


def _count_bodies(
    joined: Sequence[tuple[Row, bytes]],
    matcher: Matcher,
    asked: pb.SummariseEventsRequest,
    sums: Sums,
) -> None:
    for row, frame in joined:
        content = opened(row, frame, matcher)
        if content is None:
            continue
        header, body = content
        for place in matcher.places(body):
            event = body.events[place]
            known = event.HasField("actor") and 0 <= event.actor < len(body.images)
            image = body.images[event.actor] if known else None
            count = max(event.count, 1)
            sums.total += count
            if asked.slice_seconds:
                second = clock.from_timestamp(event.event_time) // clock.NS
                start = second // asked.slice_seconds * asked.slice_seconds
                sums.slices[start, event.WhichOneof("kind") or ""] += count
            for name, counter in sums.facets.items():
                if name == "host":
                    counter[header.host_id] += count
                elif name == "herd":
                    counter[header.herd] += count
                else:
                    for value, times in _values(name, event, image):
                        counter[value] += times


def _values(
    facet: str, event: events.Event, image: events.Image | None
) -> Iterator[tuple[str, int]]:
    count = max(event.count, 1)
    if facet == "kind":
        yield event.WhichOneof("kind") or "", count
    elif facet == "path":
        for path, times in paths_of(event, event.WhichOneof("kind") or ""):
            yield show(path), max(times, 1)
    elif facet == "session":
        for session in sessions_of(event, image):
            yield str(session), count
    elif facet == "service":
        for service in services_of(event, image):
            yield service, count
    elif image is not None:
        value = {
            "user": user_of(image),
            "effective_user": effective_of(image),
            "executable": show(image.executable),
        }[facet]
        if value:
            yield value, count


def _response(asked: pb.SummariseEventsRequest, sums: Sums, top: int) -> pb.SummariseEventsResponse:
    response = pb.SummariseEventsResponse(total_count=sums.total, complete=sums.complete)
    for name in asked.facets:
        counter = sums.facets[name]
        # Equal counts by value, so that the answer is the same every time.
        commonest = sorted(counter.items(), key=lambda each: (-each[1], each[0]))[:top]
        facet = response.facets.add(name=name)
        for value, count in commonest:
            facet.values.add(value=show(value), count=count)
        facet.other_count = sum(counter.values()) - sum(count for _, count in commonest)
    for (start, kind), count in sorted(sums.slices.items()):
        response.slices.add(start_time=clock.to_timestamp(start * clock.NS), kind=kind, count=count)
    return response
