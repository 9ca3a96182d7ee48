"""Erasure by authority: somebody with the right to decide had evidence removed, and why."""

import structlog

from chassis import clock
from nightherd.store.v1 import store_service_pb2 as pb
from services.store import naming
from services.store.domain.removals import of_authority
from services.store.eraser import Eraser
from services.store.repository.aside import Aside
from services.store.repository.filters import QueryError, time_span
from services.store.repository.hosts import Hosts

log = structlog.get_logger()
MOST_CHARACTERS = 1000


class Erasing:
    """Removes what was asked for, never without a mark."""

    def __init__(self, eraser: Eraser, hosts: Hosts, aside: Aside) -> None:
        """Remove from these."""
        self._eraser, self._hosts, self._aside = eraser, hosts, aside

    async def erase(self, asked: pb.EraseEvidenceRequest) -> pb.EraseEvidenceResponse:
        """Remove the bodies of a host's batches that overlap a span of event time.

        A dry run removes nothing.

        Raises:
            HostUnknownError: no such host.
            QueryError: nobody decided, without a reason, or with too many words.
        """
        for name, text in (("authority", asked.authority), ("reason", asked.reason)):
            if not (asked.dry_run or text.strip()) or len(text) > MOST_CHARACTERS:
                raise QueryError(f"{name}: 1 to {MOST_CHARACTERS} characters")
        if not await self._hosts.known([asked.host_id]):
            raise naming.unknown(asked.host_id)
        given = time_span(asked)
        span = given.get("$gte"), given.get("$lte")
        removal = of_authority(asked.host_id, span, asked.authority, asked.reason, clock.wall_ns())
        going = await self._eraser.extent(removal)
        if asked.dry_run:
            return pb.EraseEvidenceResponse(
                batch_count=going.batches,
                event_count=going.events,
                size_bytes=going.size_bytes,
                set_aside_count=await self._aside.count(asked.host_id, *span),
            )
        batches, events = await self._eraser.carry_out(removal)
        aside = await self._aside.erase(asked.host_id, *span)
        log.info(
            "evidence erased",
            host=asked.host_id,
            authority=asked.authority,
            batches=batches,
            events=events,
        )
        return pb.EraseEvidenceResponse(
            batch_count=batches,
            event_count=events,
            size_bytes=going.size_bytes,
            set_aside_count=aside,
        )
