"""OCSF 1.8.0 as JSON lines, with the profile `host`; kinds that have no class are base events.

Reference: https://schema.ocsf.io/1.8.0/
"""

from chassis import clock
from evidence.exports.documents import Documents, present
from evidence.exports.facts import Fact
from evidence.exports.ocsf_classes import CLASSES, OTHER, nothing_of_its_own
from evidence.exports.ocsf_objects import UNKNOWN, person_of, process_of, session_of
from evidence.exports.sentence import sentence
from evidence.kinds import Row, readable

OCSF_VERSION = "1.8.0"
_MS = 1_000_000
_PRODUCT = {"name": "Nightherd", "vendor_name": "Nightherd", "feature": {"name": "export"}}


class Ocsf(Documents):
    """Renders facts as OCSF events."""

    name, suffix, id_at = "ocsf", "ocsf.ndjson", ("metadata", "uid")

    @staticmethod
    def document(fact: Fact) -> Row:
        """Return what is said of a fact."""
        return present(_document(fact))


def _document(fact: Fact) -> Row:
    row = fact.row
    class_uid, activity, special = CLASSES.get(row["kind"], nothing_of_its_own)(fact)
    time_ms = clock.from_timestamp(fact.event.event_time) // _MS
    end_ms = clock.from_timestamp(fact.event.last_event_time) // _MS
    document: Row = {
        "class_uid": class_uid,
        "category_uid": class_uid // 1000,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "activity_name": row["kind"] if activity == OTHER else None,
        "severity_id": 1,
        "time": time_ms,
        "start_time": time_ms if "lastTime" in row else None,
        "end_time": end_ms if "lastTime" in row else None,
        "count": row["count"],
        "message": sentence(fact),
        "metadata": {
            "version": OCSF_VERSION,
            "uid": fact.fact_id,
            "product": _PRODUCT,
            "profiles": ["host"],
            "log_name": row["kind"],
        },
        "device": {
            "type_id": 0,
            "uid": row.get("hostID") or UNKNOWN,
            "hostname": row.get("hostname"),
        },
        "actor": _actor(row),
        "unmapped": _unmapped(fact),
    }
    document.update(special)
    return document


def _actor(row: Row) -> Row:
    if "pid" not in row:
        return {"app_name": UNKNOWN}
    return {"process": process_of(row), "user": person_of(row), "session": session_of(row)}


def _unmapped(fact: Fact) -> Row:
    row = fact.row
    names = (
        *("attribution", "provenance", "herd", "origin", "service", "package", "scriptPath"),
        *("cgroup", "containerID", "containerImage", "maintenance", "argumentsCut", "ancestors"),
        *("sourceAddress", "exitCode", "signal", "startTime", "cut", "paths", "dnsNames"),
        *("traits", "bornFrom", "mountNamespace", "processDevice", "processInode"),
    )
    found = {name: row.get(name) for name in names}
    if fact.change is not None:
        change = readable(fact.change)
        found["change"] = {k: v for k, v in change.items() if k not in ("path", "previousPath")}
    elif fact.read is not None:
        read = readable(fact.read)
        found["read"] = {k: v for k, v in read.items() if k != "path"}
    else:
        found["details"] = row.get("details")
    return found
