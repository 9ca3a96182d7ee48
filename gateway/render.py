"""Messages as the JSON objects of the contract. Bytes become readable text; empty fields go."""

from typing import Any

from chassis import clock
from chassis.text import show
from gateway import words
from nightherd.detector.v1 import finding_pb2 as finding
from nightherd.modeler.v1 import model_pb2 as model
from nightherd.store.v1 import store_service_pb2 as pb

_ALWAYS = frozenset({"time", "hostname", "user", "type", "interactive", "modifiedFiles", "count"})


def _time(message: Any, name: str) -> str:
    if not message.HasField(name):
        return ""
    return clock.rfc3339(clock.from_timestamp(getattr(message, name)))


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is empty, as the contract's server does."""
    return {
        name: value
        for name, value in row.items()
        if name in _ALWAYS or value not in ("", None, [], {})
    }


def _actor(actor: finding.Actor) -> dict[str, Any]:
    """What both activities and alerts say about who did it, beyond the contract."""
    return {
        "pid": actor.pid,
        "ppid": actor.ppid,
        "execID": actor.exec_id,
        "effectiveUser": show(actor.effective_user),
        "sessionID": actor.session_id if actor.HasField("session_id") else None,
        "terminal": show(actor.terminal),
        "sourceAddress": show(actor.source_address),
        "provenance": words.PROVENANCES[actor.provenance] if actor.provenance else "",
        "containerID": show(actor.container_id),
        "ancestors": [show(path) for path in actor.ancestors],
        "attribution": words.ATTRIBUTIONS[actor.attribution] if actor.attribution else "",
        "maintenance": actor.maintenance or None,
    }


def activity(record: pb.ActivityRecord) -> dict[str, Any]:
    """shared.HostActivity, and what it lacks."""
    found = record.finding
    actor, what = found.actor, found.activity
    return _filled(
        {
            "time": _time(found, "event_time"),
            "hostname": show(found.hostname or found.host_id),
            "user": show(actor.user),
            "type": words.ACTIVITY_WORDS.get(what.type, ""),
            "command": show(actor.command),
            "interactive": actor.interactive,
            "modifiedFiles": sorted(show(path) for path in what.modified_files),
            "service": show(actor.service),
            "affectedServices": [show(name) for name in what.affected_services],
            "ruleName": what.rule_name,
            "accountID": show(record.account),
            "cluster": show(record.cluster),
            "id": what.activity_id,
            "hostID": found.host_id,
            "herd": show(found.herd),
            **_actor(actor),
            "processPath": show(actor.executable),
            "wouldAlert": what.would_alert or None,
            "modelRevision": found.model_revision,
        }
    )


def alert(record: pb.AlertRecord) -> dict[str, Any]:
    """shared.RuntimeAudit, and what it lacks."""
    found = record.finding
    actor, what = found.actor, found.alert
    deviation = what.deviation if what.HasField("deviation") else None
    return _filled(
        {
            "_id": what.alert_key,
            "time": _time(record, "last_time"),
            "hostname": show(found.hostname or found.host_id),
            "user": show(actor.user),
            "type": what.type,
            "attackType": what.attack_type,
            "severity": words.SEVERITIES.get(what.severity, ""),
            "effect": what.effect,
            "ruleName": what.rule_name,
            "msg": show(what.message),
            "app": show(actor.service),
            "profileId": found.host_id,
            "processPath": show(actor.executable),
            "command": show(actor.command),
            "interactive": actor.interactive,
            "count": record.count,
            "os": show(record.os),
            "attackTechniques": list(what.attack_techniques),
            "accountID": show(record.account),
            "cluster": show(record.cluster),
            "region": show(record.region),
            "port": what.port or None,
            "ip": show(what.address),
            "firstTime": _time(record, "first_time"),
            "hostID": found.host_id,
            "hosts": [show(name) for name in record.hostnames],
            "herd": show(found.herd),
            **_actor(actor),
            "modifiedFiles": sorted(show(path) for path in what.modified_files),
            "accounts": [show(name) for name in what.accounts],
            "activityID": what.activity_id,
            "deviation": _behaviour(deviation) if deviation is not None else None,
            "expected": show(what.expected),
            "modelRevision": found.model_revision,
        }
    )


def _behaviour(behaviour: model.Behaviour) -> dict[str, str]:
    return {"facet": words.FACETS[behaviour.facet], "subject": show(behaviour.subject)}


def profile(summary: model.ModelSummary, detectors: list[dict[str, Any]]) -> dict[str, Any]:
    """The model of a service (the contract has no words for most of it)."""
    by_facet: dict[str, list[str]] = {}
    for behaviour in summary.behaviours:
        by_facet.setdefault(words.FACETS[behaviour.facet], []).append(show(behaviour.subject))
    return {
        "_id": words.service_id(summary.service),
        "service": show(summary.service),
        "herd": show(summary.herd),
        "state": words.MODEL_WORDS.get(summary.state, ""),
        "revision": summary.revision,
        "capabilities": sorted(by_facet.get("obtains", [])),
        "behaviours": {facet: sorted(found) for facet, found in sorted(by_facet.items())},
        "candidates": [_behaviour(behaviour) for behaviour in summary.candidates],
        "hosts": list(summary.host_ids),
        "firstSeen": _time(summary, "first_seen_time"),
        "lastSeen": _time(summary, "last_seen_time"),
        "stateTime": _time(summary, "state_time"),
        "unitsObserved": summary.units_observed,
        "predictedAlerts": round(summary.predicted_alerts, 3),
        "predictedAlertsBound": round(summary.predicted_alerts_bound, 3),
        "waitingFor": list(summary.waiting_for),
        "changedBy": show(summary.changed_by),
        "detectors": detectors,
        "appliedEverywhere": bool(detectors)
        and all(each["revision"] >= summary.revision for each in detectors),
    }


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
        "level": words.LEVELS[status.level] if status.level else "unknown",
        "notSeen": [show(sentence) for sentence in status.not_seen],
        "selfTestPassed": status.self_test_passed,
        "agentVersion": show(status.agent_version),
        "agentState": words.AGENT_STATES[status.state] if status.state else "unknown",
        "agentRssBytes": status.rss_bytes,
        "agentCpuMs": status.cpu_ms,
        "lost": status.lost,
        "connected": found.connected,
        "firstSeen": _time(found, "first_seen_time"),
        "lastSeen": _time(found, "last_seen_time"),
        "lastEvent": _time(found, "last_event_time"),
        "clockSkewMs": found.clock_skew_ms,
        "batches": found.batch_count,
        "events": found.event_count,
        "gaps": found.gap_count,
        "rejected": found.rejected_count,
        "imported": found.origin == 2,  # noqa: PLR2004  (ORIGIN_IMPORTED)
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


def gap(record: pb.GapRecord) -> dict[str, Any]:
    """A stretch for which events are known to be missing."""
    found = record.gap
    return {
        "hostID": record.host_id,
        "hostname": show(record.hostname),
        "cause": words.GAP_CAUSES[found.cause],
        "from": _time(found, "start_time"),
        "to": _time(found, "end_time"),
        "precision": words.PRECISIONS[found.precision],
        "lost": found.lost,
        "source": show(found.source),
        "service": show(found.service),
        "detail": show(found.detail),
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
                "headHash": chain.head_hash,
                "faults": [
                    {"batch": f.batch_number, "kind": f.kind, "detail": show(f.detail)}
                    for f in chain.faults
                ],
            }
            for chain in answer.chains
        ],
    }
