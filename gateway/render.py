"""Messages as the JSON objects of the contract. Bytes become readable text; empty fields go."""

from typing import Any

from chassis import clock
from chassis.text import show
from gateway import words
from nightherd.detector.v1 import finding_pb2 as finding
from nightherd.modeler.v1 import model_pb2 as model
from nightherd.store.v1 import store_service_pb2 as pb

# There are no collections but the contract's own: All.
COLLECTIONS = ["All"]
_ALWAYS = frozenset(
    {"time", "hostname", "user", "type", "interactive", "modifiedFiles", "count", "container"}
)


def moment(message: Any, name: str) -> str:
    """Return a time of `message` as text; empty when it is not set."""
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
            "time": moment(found, "event_time"),
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
            "collections": COLLECTIONS,
            "id": what.activity_id,
            "hostID": found.host_id,
            "herd": show(found.herd),
            "processPath": show(actor.executable),
            **_actor(actor),
            "containerID": show(actor.container_id),
            "count": record.count,
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
            "time": moment(record, "last_time"),
            "hostname": show(found.hostname or found.host_id),
            "user": show(actor.user),
            "type": what.type,
            "attackType": what.attack_type,
            "severity": words.SEVERITIES.get(what.severity, ""),
            "effect": what.effect,
            "ruleName": what.rule_name,
            "msg": show(what.message),
            "app": show(actor.service),
            "profileId": show(found.hostname or found.host_id),
            "processPath": show(actor.executable),
            "command": show(actor.command),
            "interactive": actor.interactive,
            "count": record.count,
            "os": show(record.os),
            "attackTechniques": list(what.attack_techniques),
            "container": bool(actor.container_id),
            "containerId": show(actor.container_id),
            "cluster": show(record.cluster),
            "collections": COLLECTIONS,
            "accountID": show(record.account),
            "region": show(record.region),
            "port": what.port or None,
            "ip": show(what.address),
            "firstTime": moment(record, "first_time"),
            "hostID": found.host_id,
            "hosts": [show(name) for name in record.hostnames],
            "hostIDs": list(record.host_ids),
            "herd": show(found.herd),
            **_actor(actor),
            "modifiedFiles": sorted(show(path) for path in what.modified_files),
            "accounts": [show(name) for name in what.accounts],
            "activityID": what.activity_id,
            "deviation": behaviour(deviation) if deviation is not None else None,
            "expected": show(what.expected),
            "modelRevision": found.model_revision,
        }
    )


def behaviour(found: model.Behaviour) -> dict[str, str]:
    """Return a behaviour as JSON."""
    return {"facet": words.FACETS[found.facet], "subject": show(found.subject)}
