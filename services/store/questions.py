"""Answers to questions about findings, hosts, gaps and custody."""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import DecodeError

from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1.event_pb2 import EventBatch
from nightherd.store.v1 import store_service_pb2 as pb
from services.store import naming, wire
from services.store.domain.custody import BODY_MISSING, ChainCheck
from services.store.domain.holes import Holes, claims_of
from services.store.repository.aside import Aside
from services.store.repository.batches import Batches
from services.store.repository.chains import Chains
from services.store.repository.filters import (
    QueryError,
    bounds,
    findings_query,
    sort_order,
    substring,
    time_span,
)
from services.store.repository.findings import Findings
from services.store.repository.hosts import Hosts
from services.store.repository.removals import Removals

MAX_HEADS = 10_000
PART = 500
"""Records in one message of a stream."""


class Questions:
    """Reads; changes nothing."""

    def __init__(
        self,
        batches: Batches,
        chains: Chains,
        hosts: Hosts,
        findings: Findings,
        aside: Aside,
        removals: Removals,
    ) -> None:
        """Read from these."""
        self._removals = removals
        self._batches, self._chains, self._hosts = batches, chains, hosts
        self._findings, self._aside = findings, aside

    async def findings(
        self, kind: str, asked: pb.FindingFilter, paging: pb.Paging
    ) -> tuple[list[Any], int]:
        """Return a page of records of `kind` ("activity" or "alert") and how many match."""
        query = await findings_query(asked, self._hosts)
        offset, limit = bounds(paging.offset, paging.limit)
        rows, total = await self._findings.page(kind, query, sort_order(paging), offset, limit)
        return await self._records(kind, rows), total

    async def all_findings(
        self, kind: str, asked: pb.FindingFilter, paging: pb.Paging
    ) -> AsyncIterator[list[Any]]:
        """Yield all matching records in parts; `paging.limit` 0 is no limit."""
        query = await findings_query(asked, self._hosts)
        offset, _ = bounds(paging.offset, 0)
        part: list[dict[str, Any]] = []
        async for row in self._findings.stream(
            kind, query, sort_order(paging), offset, max(paging.limit, 0)
        ):
            part.append(row)
            if len(part) == PART:
                yield await self._records(kind, part)
                part = []
        if part:
            yield await self._records(kind, part)

    async def _records(self, kind: str, rows: list[dict[str, Any]]) -> list[Any]:
        hosts = await self._hosts.known(sorted({h for row in rows for h in row["hosts"]}))
        if kind == "alert":
            return [wire.alert(row, hosts) for row in rows]
        return [wire.activity(row, hosts.get(row["hosts"][0], {})) for row in rows]

    async def hosts(self, asked: pb.ListHostsRequest) -> pb.ListHostsResponse:
        """Return a page of hosts."""
        query: dict[str, Any] = {}
        if asked.hosts:
            query["_id"] = {"$in": await self._hosts.ids_of(list(asked.hosts))}
        if asked.herds:
            query["herd"] = {"$in": list(asked.herds)}
        if asked.search:
            pattern = {"$regex": substring(asked.search)}
            query["$or"] = [{"lower_name": pattern}, {"_id": pattern}]
        rows, total = await self._hosts.page(query, *bounds(asked.offset, asked.limit))
        ids = [row["_id"] for row in rows]
        chains = await self._chains.of_hosts(ids)
        gaps, rejected = await self._hosts.gap_counts(ids), await self._aside.counts(ids)
        return pb.ListHostsResponse(
            total_count=total,
            hosts=[
                wire.host(
                    row,
                    chains.get(row["_id"], []),
                    gaps.get(row["_id"], 0),
                    rejected.get(row["_id"], 0),
                )
                for row in rows
            ],
        )

    async def gaps(self, asked: pb.ListGapsRequest) -> pb.ListGapsResponse:
        """Return a page of gaps.

        Raises:
            HostUnknownError: one of the hosts does not exist.
        """
        query: dict[str, Any] = {}
        if asked.hosts:
            query["h"] = {"$in": await naming.ids_of(asked.hosts, self._hosts)}
        span = time_span(asked)
        if "$gte" in span:
            query["t1"] = {"$gte": span["$gte"]}
        if "$lte" in span:
            query["t0"] = {"$lte": span["$lte"]}
        rows, total = await self._hosts.gaps(query, *bounds(asked.offset, asked.limit))
        hosts = await self._hosts.known(sorted({row["h"] for row in rows}))
        return pb.ListGapsResponse(
            total_count=total,
            gaps=[wire.gap(row, hosts.get(row["h"], {}).get("name", "")) for row in rows],
        )

    async def events(self, asked: pb.StreamEventsRequest) -> AsyncIterator[pb.StreamEventsResponse]:
        """Yield the stored batches of a host, decoded."""
        span = time_span(asked)
        async for header, body in self._batches.of_host(
            asked.host_id, span.get("$gte"), span.get("$lte")
        ):
            content = _decoded(header, body)
            if content is not None:
                yield pb.StreamEventsResponse(header=header, body=content)

    async def custody(self, asked: pb.VerifyCustodyRequest) -> pb.VerifyCustodyResponse:
        """Check every chain of a host.

        Raises:
            HostUnknownError: no such host.
            QueryError: heads together with a span of time, or too many.
        """
        if asked.heads and (time_span(asked) or len(asked.heads) > MAX_HEADS):
            raise QueryError(f"heads: at most {MAX_HEADS}, and without from and to")
        chains = (await self._chains.of_hosts([asked.host_id])).get(asked.host_id)
        if not chains:
            raise naming.unknown(asked.host_id)
        reports = await self._reports(asked, chains)
        if any(fault.kind == BODY_MISSING for report in reports for fault in report.faults):
            # Perhaps it was removed while we looked: then there is a mark by now.
            reports = await self._reports(asked, chains)
        return pb.VerifyCustodyResponse(
            intact=not any(report.faults for report in reports), chains=reports
        )

    async def _reports(
        self, asked: pb.VerifyCustodyRequest, chains: list[dict[str, Any]]
    ) -> list[pb.VerifyCustodyResponse.ChainReport]:
        span = time_span(asked)
        removals = await self._removals.of_host(asked.host_id)
        said = await self._hosts.holes(asked.host_id)
        expected: dict[str, dict[int, str]] = {}
        for head in asked.heads:
            expected.setdefault(head.chain_id, {})[head.number] = head.hash
        reports = []
        for chain in chains:
            check = ChainCheck(
                expected=expected.pop(chain["c"], {}),
                signing_key=bytes(chain["key"]) if chain.get("key") else None,
                whole="$gte" not in span,
                gone=chain.get("gone", 0),
                holes=Holes(claims_of(chain["_id"], said)),
            )
            async for stored in self._batches.chain(
                asked.host_id,
                bytes.fromhex(chain["c"]),
                span.get("$gte"),
                span.get("$lte"),
                removals,
            ):
                check.see(stored)
            check.end()
            reports.append(wire.chain_report(chain["c"], check))
        for chain_id, numbers in expected.items():
            check = ChainCheck(signing_key=None, expected=numbers)
            check.end()
            reports.append(wire.chain_report(chain_id, check))
        return reports


def _decoded(header: bytes, body: bytes) -> EventBatch | None:
    """Return the events of a stored batch; None when this version cannot read them."""
    said = delivery.BatchHeader.FromString(header)
    if said.body_format != 1:
        return None
    try:
        return EventBatch.FromString(open_frame(body, said.body_size_bytes))
    except (BadFrameError, SizeMismatchError, DecodeError):
        return None
