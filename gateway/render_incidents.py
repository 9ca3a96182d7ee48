"""Incidents as JSON objects and in sentences."""

from typing import Any

from chassis.text import show
from evidence import wording
from gateway import words
from gateway.render import moment
from nightherd.store.v1 import store_service_pb2 as pb


def incident(found: pb.Incident) -> dict[str, Any]:
    """One incident; what is empty is left out."""
    row = {
        "id": found.incident_id,
        "hostname": show(found.hostname or found.host_id),
        "hostID": show(found.host_id),
        "herd": show(found.herd),
        "state": words.INCIDENT_WORDS.get(found.state, ""),
        "firstTime": moment(found, "first_time"),
        "lastTime": moment(found, "last_time"),
        "users": [show(user) for user in found.users],
        "sessionID": found.session_id if found.HasField("session_id") else None,
        "bootID": show(found.boot_id),
        "service": show(found.service),
        "alerts": found.alert_count,
        "high": found.high_count,
        "medium": found.medium_count,
        "low": found.low_count,
        "attackTypes": [show(kind) for kind in found.attack_types],
        "alertIDs": [show(key) for key in found.alert_ids],
        "acknowledged": moment(found, "acknowledged_time"),
        "acknowledgedBy": show(found.acknowledged_by),
        "note": show(found.note),
        "keptBatches": found.kept_batch_count or None,
        "keptBytes": found.kept_bytes or None,
        "leftOutBatches": found.left_out_batch_count or None,
        "leftOutBytes": found.left_out_bytes or None,
    }
    return {name: value for name, value in row.items() if value not in ("", None, [])}


def sentence(found: pb.GetTimelineResponse.IncidentMoment) -> str:
    """What a moment of an incident says."""
    about = found.incident
    return wording.incident_sentence(
        found.moment,
        wording.Incident(
            users=about.users,
            session_id=about.session_id if about.HasField("session_id") else None,
            service=about.service,
            attacks=about.attack_types,
            alerts=about.alert_count,
            high=about.high_count,
            acknowledged_by=about.acknowledged_by,
            note=about.note,
        ),
    )
