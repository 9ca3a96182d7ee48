"""Answers to questions about events."""

from nightherd.store.v1 import store_service_pb2 as pb
from services.store.domain.paging import position_of
from services.store.repository.filters import bounds
from services.store.search import Search
from services.store.summary import Summary


class Events:
    """Reads; changes nothing."""

    def __init__(self, search: Search, summary: Summary) -> None:
        """Read with these."""
        self._search, self._summary = search, summary

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
