"""Hosts, gaps and custody as JSON objects."""

from typing import Any

from chassis.text import show
from gateway import words
from gateway.render import moment
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb


def host(found: pb.Host) -> dict[str, Any]:
    """A watched host: how well it is seen, and what is missing."""
    facts, status = found.facts, found.status
    return {
        "hostID": found.host_id,
        "hostname": show(facts.hostname),
        "fqdn": show(facts.fqdn),
        "herd": show(found.herd),
        "os": show(facts.os_name),
        "kernel": show(facts.kernel),
        "architecture": show(facts.architecture),
        "timeZone": show(facts.time_zone),
        "addresses": [show(address) for address in facts.addresses],
        "cluster": show(facts.cluster),
        "labels": [show(label) for label in facts.labels],
        "cloudProvider": show(facts.cloud_provider),
        "accountID": show(facts.cloud_account),
        "region": show(facts.cloud_region),
        "cloudInstance": show(facts.cloud_instance),
        "level": words.LEVELS[status.level] if status.level else "unknown",
        "notSeen": [show(sentence) for sentence in status.not_seen],
        "selfTestPassed": status.self_test_passed,
        "agentVersion": show(status.agent_version),
        "agentState": words.AGENT_STATES[status.state] if status.state else "unknown",
        "agentRssBytes": status.rss_bytes,
        "agentPeakRssBytes": status.peak_rss_bytes,
        "agentCpuMs": status.cpu_ms,
        "agentProcesses": status.processes,
        "eventsCollected": status.collected,
        "batchesUnwritten": status.unwritten_batches,
        **_behind(status),
        "spoolBytes": status.spool_bytes,
        "lost": status.lost,
        "connected": found.connected,
        "firstSeen": moment(found, "first_seen_time"),
        "lastSeen": moment(found, "last_seen_time"),
        "lastEvent": moment(found, "last_event_time"),
        "clockSkewMs": found.clock_skew_ms,
        "batches": found.batch_count,
        "events": found.event_count,
        "gaps": found.gap_count,
        "rejected": found.rejected_count,
        "imported": found.origin == delivery.ORIGIN_IMPORTED,
        "chains": [
            {
                "chainID": chain.chain_id,
                "first": chain.first,
                "last": chain.last,
                "settledThrough": chain.settled_through,
                "flags": list(chain.flags),
            }
            for chain in found.chains
        ],
    }


def _behind(status: events.AgentStatus) -> dict[str, int]:
    behind = {receiver.name: receiver.behind for receiver in status.receivers}
    return {
        "behindStore": behind.get("store", 0),
        "behindDetector": behind.get("detector", 0),
        "behindModeler": behind.get("modeler", 0),
    }


def gap(record: pb.GapRecord) -> dict[str, Any]:
    """A stretch for which events are known to be missing."""
    found = record.gap
    return {
        "hostID": record.host_id,
        "hostname": show(record.hostname),
        "cause": words.GAP_CAUSES.get(found.cause, "unspecified"),
        "from": moment(found, "start_time"),
        "to": moment(found, "end_time"),
        "precision": words.PRECISIONS[found.precision],
        "lost": found.lost,
        "source": show(found.source),
        "service": show(found.service),
        "detail": show(found.detail),
        "firstBatch": found.first_batch,
        "lastBatch": found.last_batch,
    }


def custody(answer: pb.VerifyCustodyResponse, host_id: str) -> dict[str, Any]:
    """What was found when a host's chains were checked."""
    return {
        "hostID": host_id,
        "intact": answer.intact,
        "chains": [
            {
                "chainID": chain.chain_id,
                "first": chain.first,
                "last": chain.last,
                "batches": chain.batch_count,
                "events": chain.event_count,
                "signed": chain.signed_count,
                "headersOnly": chain.header_only_count,
                "droppedThrough": chain.dropped_through,
                "headHash": chain.head_hash,
                "faults": [
                    {"batch": f.batch_number, "kind": f.kind, "detail": show(f.detail)}
                    for f in chain.faults
                ],
                "givenUp": [
                    {
                        "first": one.first,
                        "last": one.last,
                        "events": one.event_count,
                        "cause": words.GAP_CAUSES.get(one.cause, "unspecified"),
                        "signed": one.signed,
                    }
                    for one in chain.given_up
                ],
            }
            for chain in answer.chains
        ],
    }
