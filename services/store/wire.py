"""Documents and dataclasses as messages."""

import datetime as dt
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from chassis import clock
from nightherd.detector.v1 import finding_pb2
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.domain.custody import ChainCheck
from services.store.domain.incidents import ACKNOWLEDGED, OPEN, QUIET, Extent, state_of

_STATES = {
    OPEN: pb.INCIDENT_STATE_OPEN,
    QUIET: pb.INCIDENT_STATE_QUIET,
    ACKNOWLEDGED: pb.INCIDENT_STATE_ACKNOWLEDGED,
}
CONNECTED_S = 75.0
"""An open stream says so every 30 s; twice missed is not connected."""


def activity(row: dict[str, Any], host: dict[str, Any]) -> pb.ActivityRecord:
    """An activity as it stands: its earliest occurrence with all files."""
    finding = finding_pb2.Finding.FromString(row["f"])
    finding.hostname = host.get("name") or finding.hostname
    del finding.activity.modified_files[:]
    finding.activity.modified_files.extend(bytes(path) for path in row["files"])
    del finding.activity.affected_services[:]
    finding.activity.affected_services.extend(row.get("affected", ()))
    return pb.ActivityRecord(
        finding=finding,
        cluster=host.get("cluster", ""),
        account=host.get("account", ""),
        count=row["count"],
    )


def alert(row: dict[str, Any], hosts: dict[str, dict[str, Any]]) -> pb.AlertRecord:
    """An alert as it stands: its latest occurrence with all files and hosts."""
    finding = finding_pb2.Finding.FromString(row["f"])
    host = hosts.get(finding.host_id, {})
    finding.hostname = host.get("name") or finding.hostname
    del finding.alert.accounts[:]
    finding.alert.accounts.extend(row.get("accounts", ()))
    del finding.alert.modified_files[:]
    finding.alert.modified_files.extend(bytes(path) for path in row["files"])
    facts = events.HostFacts.FromString(host.get("facts") or b"")
    return pb.AlertRecord(
        finding=finding,
        count=row["count"],
        first_time=clock.to_timestamp(row["t0"]),
        last_time=clock.to_timestamp(row["t"]),
        host_ids=row["hosts"],
        hostnames=[hosts.get(h, {}).get("name") or h for h in row["hosts"]],
        cluster=facts.cluster,
        account=facts.cloud_account,
        os=facts.os_name,
        region=facts.cloud_region,
    )


def incident(
    row: dict[str, Any], host: dict[str, Any], now_ns: int, extent: Extent | None = None
) -> pb.Incident:
    """An incident as it stands at `now_ns`; `extent` is what is kept around it."""
    extent = extent or Extent()
    state = state_of(acknowledged="at" in row, latest=row["open"], last_ns=row["t1"], now_ns=now_ns)
    counts = row.get("severities", {})
    return pb.Incident(
        incident_id=row["_id"],
        host_id=row["host"],
        hostname=host.get("name") or "",
        herd=row["herd"],
        boot_id=row["boot"],
        session_id=row["session"],
        service=row["service"],
        users=row["users"],
        first_time=clock.to_timestamp(row["t0"]),
        last_time=clock.to_timestamp(row["t1"]),
        alert_count=row["count"],
        low_count=counts.get(str(finding_pb2.SEVERITY_LOW), 0),
        medium_count=counts.get(str(finding_pb2.SEVERITY_MEDIUM), 0),
        high_count=counts.get(str(finding_pb2.SEVERITY_HIGH), 0),
        alert_ids=row["alerts"],
        attack_types=row["attacks"],
        state=_STATES[state],
        acknowledged_time=clock.to_timestamp(row["at"]) if "at" in row else None,
        acknowledged_by=row.get("who", ""),
        note=row.get("note", ""),
        kept_batch_count=extent.batches,
        kept_bytes=extent.size_bytes,
        left_out_batch_count=extent.left_out_batches,
        left_out_bytes=extent.left_out_bytes,
    )


def _time(moment: dt.datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def host(
    row: dict[str, Any],
    chains: list[dict[str, Any]],
    gaps: int,
    rejected: int,
) -> pb.Host:
    """A host as the store knows it."""
    connected = row.get("connected")
    age_s = (dt.datetime.now(dt.UTC) - connected).total_seconds() if connected else CONNECTED_S
    return pb.Host(
        host_id=row["_id"],
        herd=row.get("herd", ""),
        facts=events.HostFacts.FromString(row["facts"]) if row.get("facts") else None,
        status=events.AgentStatus.FromString(row["status"]) if row.get("status") else None,
        first_seen_time=_time(row.get("first_seen")),
        last_seen_time=_time(row.get("last_seen")),
        last_event_time=clock.to_timestamp(row["last_event"]) if row.get("last_event") else None,
        clock_skew_ms=row.get("skew_ms", 0),
        batch_count=sum(chain.get("batches", 0) for chain in chains),
        event_count=sum(chain.get("events", 0) for chain in chains),
        gap_count=gaps,
        origin=row.get("origin", 0),
        chains=[_chain(chain) for chain in chains],
        connected=age_s < CONNECTED_S,
        rejected_count=rejected,
    )


def _chain(row: dict[str, Any]) -> pb.Host.Chain:
    return pb.Host.Chain(
        chain_id=row["c"],
        first=row.get("first", 0),
        last=row.get("last", 0),
        settled_through=row.get("settled", 0),
        flags=sorted(row.get("flags", ())),
    )


def gap(row: dict[str, Any], hostname: str) -> pb.GapRecord:
    """A gap as it is stored."""
    return pb.GapRecord(host_id=row["h"], hostname=hostname, gap=events.Gap.FromString(row["gap"]))


def chain_report(chain_id: str, check: ChainCheck) -> pb.VerifyCustodyResponse.ChainReport:
    """What was found in one chain."""
    response = pb.VerifyCustodyResponse
    return response.ChainReport(
        chain_id=chain_id,
        first=check.first,
        last=check.last,
        batch_count=check.batch_count,
        event_count=check.event_count,
        signed_count=check.signed_count,
        header_only_count=check.header_only_count,
        dropped_through=check.gone,
        head_hash=check.head_hash.hex(),
        faults=[
            response.Fault(batch_number=f.number, kind=f.kind, detail=f.detail)
            for f in check.faults
        ],
        given_up=[
            response.GivenUp(
                first=one.first,
                last=one.last,
                event_count=one.event_count,
                cause=one.cause,
                signed=one.signed,
            )
            for one in check.holes.given_up
        ],
    )
