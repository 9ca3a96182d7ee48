"""Answers to questions about events."""

from nightherd.store.v1 import store_service_pb2 as pb
from services.store.domain.paging import position_of
from services.store.repository.filters import bounds
from services.store.search import Search
from services.store.summary import Summary
from services.store.timeline import Timeline
from services.store.trees import Trees


class Events:
    """Reads; changes nothing."""

    def __init__(self, search: Search, summary: Summary, timeline: Timeline, trees: Trees) -> None:
        """Read with these."""
        self._search, self._summary = search, summary
        self._timeline, self._trees = timeline, trees

    async def search(self, asked: pb.SearchEventsRequest) -> pb.SearchEventsResponse:
        """Return a page of events."""
        _, limit = bounds(0, asked.limit)
        page = await self._search.page(
            asked.filter, position_of(asked.cursor), limit, ascending=asked.ascending
        )
        return pb.SearchEventsResponse(
            events=await self._search.records(page.entries),
            next_cursor=page.next.text() if page.next is not None else "",
            cut_short=page.cut_short,
        )

    async def summarise(self, asked: pb.SummariseEventsRequest) -> pb.SummariseEventsResponse:
        """Return how many events match."""
        return await self._summary.answer(asked)

    async def timeline(self, asked: pb.GetTimelineRequest) -> pb.GetTimelineResponse:
        """Return a page of a timeline."""
        _, limit = bounds(0, asked.limit)
        return await self._timeline.page(asked, position_of(asked.cursor), limit)

    async def tree(self, asked: pb.GetProcessTreeRequest) -> pb.GetProcessTreeResponse:
        """Return the processes around one."""
        return await self._trees.around(asked)
