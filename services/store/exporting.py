"""Batches as they lie, for exports: the store opens none of them."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.domain.paging import CursorInvalidError
from services.store.repository.batches import Batches
from services.store.repository.chains import Chains
from services.store.repository.hosts import Hosts
from services.store.repository.walk import MOST_BATCHES, MOST_BYTES, Place, Row, Walk
from services.store.search import Search

POSITION = re.compile(r"(batches_[0-9a-z]{1,16})/([0-9A-Za-z:._/-]{1,400})")
Some = TypeVar("Some")


class Exporting:
    """Reads; changes nothing."""

    def __init__(
        self, search: Search, walk: Walk, batches: Batches, chains: Chains, hosts: Hosts
    ) -> None:
        """Read from these."""
        self._search, self._walk, self._batches = search, walk, batches
        self._chains, self._hosts = chains, hosts

    async def batches(
        self, asked: pb.StreamBatchesRequest
    ) -> AsyncIterator[pb.StreamBatchesResponse]:
        """Yield the batches that may hold events that match, several in a message, then the end.

        Each message says how many batches came before it, so that none is lost without a word.

        Raises:
            QueryError: the filter cannot be asked for.
            CursorInvalidError: no such position, or the batch to begin with is gone.
        """
        wanted = await self._search.wanted(asked.filter)
        rows = self._walk.rows(wanted, await self._start(asked))
        parts = self._answers(_parts(rows))
        # One message ahead: the next is read while the client takes this one.
        async with contextlib.aclosing(one_ahead(parts)) as ahead:
            count = 0
            async for part in ahead:
                part.batches_before = count
                count += len(part.batches)
                yield part
        yield pb.StreamBatchesResponse(batches_before=count, end=True)

    async def _start(self, asked: pb.StreamBatchesRequest) -> Place | None:
        if asked.from_batch_id:
            start = await self._walk.find(asked.from_batch_id)
            if start is None:
                raise CursorInvalidError("the batch to go on with is not there (any more)")
            return start
        if not asked.position:
            return None
        match = POSITION.fullmatch(asked.position)
        if match is None:
            raise CursorInvalidError("the position is not one that an answer gave out")
        return Place(match[1], match[2])

    async def _answers(
        self, parts: AsyncIterator[tuple[str, list[Row]]]
    ) -> AsyncIterator[pb.StreamBatchesResponse]:
        chain_before = ("", "", "")
        names: dict[str, str] = {}
        async for day, rows in parts:
            if missing := {row["h"] for row in rows} - names.keys():
                known = await self._hosts.known(sorted(missing))
                # Hosts come one after the other, so those before are not needed again.
                names = {h: (known.get(h) or {}).get("name") or "" for h in missing} | {
                    row["h"]: names[row["h"]] for row in rows if row["h"] in names
                }
            answer = pb.StreamBatchesResponse()
            for row, body in await self._batches.joined(rows):
                chain = (day, row["h"], row["c"])
                key = b""
                if chain != chain_before:
                    key, chain_before = await self._chains.signing_key(row["h"], row["c"]), chain
                answer.batches.add(
                    batch_id=row["_id"],
                    header=row["k"],
                    signature=row["g"],
                    body=body,
                    hostname=names[row["h"]],
                    position=Place(day, row["_id"]).text(),
                    signing_key=key,
                )
            yield answer


async def _parts(rows: AsyncIterator[tuple[str, Row]]) -> AsyncIterator[tuple[str, list[Row]]]:
    """Group rows of one day, bounded in number and in bytes."""
    part: list[Row] = []
    part_day, part_bytes = "", 0
    async for day, row in rows:
        size = delivery.BatchHeader.FromString(row["k"]).body_size_bytes
        full = len(part) == MOST_BATCHES or part_bytes + size > MOST_BYTES
        if part and (full or day != part_day):
            yield part_day, part
            part, part_bytes = [], 0
        part.append(row)
        part_day, part_bytes = day, part_bytes + size
    if part:
        yield part_day, part


async def one_ahead(parts: AsyncIterator[Some]) -> AsyncGenerator[Some, None]:
    """Yield `parts`, of which the next is made while the reader is busy with one."""
    following: asyncio.Task[Some] = asyncio.ensure_future(anext(parts))
    try:
        while True:
            try:
                part = await following
            except StopAsyncIteration:
                return
            following = asyncio.ensure_future(anext(parts))
            yield part
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await following
