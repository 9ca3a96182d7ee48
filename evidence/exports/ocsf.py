"""OCSF 1.8.0 as JSON lines, with the profile `host`; kinds that have no class are base events.

Reference: https://schema.ocsf.io/1.8.0/
"""

from collections.abc import Callable

from chassis import clock
from evidence.exports.documents import Documents, ip_of, present
from evidence.exports.facts import Fact
from evidence.exports.sentence import sentence
from evidence.kinds import Row, readable

OCSF_VERSION = "1.8.0"
_MS = 1_000_000
_PRODUCT = {"name": "Nightherd", "vendor_name": "Nightherd", "feature": {"name": "export"}}
_UNKNOWN = "unknown"
_OTHER = 99
_LAST_PORT = 65_535
_OPERATIONS = {
    "created": 1,
    "linked": 1,
    "modified": 3,
    "truncated": 3,
    "deleted": 4,
    "renamed": 5,
    "attributes": 6,
}
_PROTOCOLS = {"tcp": 6, "udp": 17}


class Ocsf(Documents):
    """Renders facts as OCSF events."""

    name, suffix, id_at = "ocsf", "ocsf.ndjson", ("metadata", "uid")

    @staticmethod
    def document(fact: Fact) -> Row:
        """Return what is said of a fact."""
        return present(_document(fact))


def _document(fact: Fact) -> Row:
    row = fact.row
    class_uid, activity, special = _CLASSES.get(row["kind"], _base)(fact)
    time_ms = clock.from_timestamp(fact.event.event_time) // _MS
    end_ms = clock.from_timestamp(fact.event.last_event_time) // _MS
    document: Row = {
        "class_uid": class_uid,
        "category_uid": class_uid // 1000,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "activity_name": row["kind"] if activity == _OTHER else None,
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
            "uid": row.get("hostID") or _UNKNOWN,
            "hostname": row.get("hostname"),
        },
        "actor": _actor(row),
        "unmapped": _unmapped(fact),
    }
    document.update(special)
    return document


def _actor(row: Row) -> Row:
    if "pid" not in row:
        return {"app_name": _UNKNOWN}
    return {"process": _process(row), "user": _person(row), "session": _session(row)}


def _process(row: Row) -> Row:
    program = row.get("processPath", "")
    path = [{"pid": row["ppid"], "uid": row.get("parentExecID")}]
    return {
        "pid": row["pid"],
        "uid": row.get("execID"),
        "name": program.rpartition("/")[2],
        "cmd_line": row.get("command"),
        "working_directory": row.get("workingDirectory"),
        "file": file_of(program) if program else None,
        "parent_process": path[0],
        "user": {
            "name": row.get("effectiveUser"),
            "uid": str(row["effectiveUserID"]),
        },
    }


def _person(row: Row) -> Row:
    number = row.get("loginUserID", row["effectiveUserID"])
    return {"name": row.get("user"), "uid": str(number)}


def _session(row: Row) -> Row | None:
    if "sessionID" not in row:
        return None
    return {"uid": str(row["sessionID"]), "terminal": row.get("terminal")}


def file_of(path: str, *, folder: bool = False) -> Row:
    """Return a file object."""
    return {
        "path": path,
        "name": path.rpartition("/")[2] or path or _UNKNOWN,
        "type_id": 2 if folder else 0,
    }


def _unmapped(fact: Fact) -> Row:
    row = fact.row
    names = (
        *("attribution", "provenance", "herd", "origin", "service", "package", "scriptPath"),
        *("cgroup", "containerID", "containerImage", "maintenance", "argumentsCut", "ancestors"),
        *("sourceAddress", "exitCode", "signal", "startTime"),
    )
    found = {name: row.get(name) for name in names}
    if fact.change is None:
        found["details"] = row.get("details")
    else:
        change = readable(fact.change)
        found["change"] = {k: v for k, v in change.items() if k not in ("path", "previousPath")}
    return found


Mapped = tuple[int, int, Row]
"""class_uid, activity_id, and what the class has beyond what all have."""


def _base(_: Fact) -> Mapped:
    return 0, _OTHER, {}


def _exec(fact: Fact) -> Mapped:
    if "pid" not in fact.row:
        return _base(fact)
    row = fact.row
    parent = {"pid": row["ppid"], "uid": row.get("parentExecID")}
    actor = {"process": parent, "user": _person(row), "session": _session(row)}
    return 1007, 1, {"process": _process(row), "actor": actor}


def _exit(fact: Fact) -> Mapped:
    if "pid" not in fact.row:
        return _base(fact)
    special = {"process": _process(fact.row), "exit_code": fact.row.get("exitCode")}
    return 1007, 2, special


def _file(fact: Fact) -> Mapped:
    change = readable(fact.change) if fact.change is not None else {}
    path, folder = change.get("path", ""), bool(change.get("directory"))
    activity = _OPERATIONS.get(change.get("operation", ""), 0)
    if before := change.get("previousPath"):
        return (
            1001,
            activity,
            {
                "file": file_of(before, folder=folder),
                "file_result": file_of(path, folder=folder),
            },
        )
    return 1001, activity, {"file": file_of(path, folder=folder)}


def _endpoint(address: str | None, port: int | None) -> Row | None:
    ip = ip_of(address)
    # A host may say anything; its schema takes what can be a port.
    port = port if port is not None and 0 < port <= _LAST_PORT else None
    if not address and not port:
        return None
    return {"ip": ip, "name": None if ip else address or _UNKNOWN, "port": port}


def _network(activity: int, direction: int) -> Callable[[Fact], Mapped]:
    def tell(fact: Fact) -> Mapped:
        row = fact.row
        protocol = row.get("protocol", "")
        here = _endpoint(row.get("localAddress"), row.get("localPort"))
        there = _endpoint(row.get("remoteAddress"), row.get("remotePort"))
        if activity == _LISTEN:
            here, there = None, here
        if not here and not there:
            there = {"name": _UNKNOWN}
        return (
            4001,
            activity,
            {
                "src_endpoint": here,
                "dst_endpoint": there,
                "connection_info": {
                    "direction_id": direction,
                    "protocol_name": protocol,
                    "protocol_num": _PROTOCOLS.get(protocol),
                },
            },
        )

    return tell


_OPEN, _LISTEN = 1, 7


def _authentication(activity: int, status: int) -> Callable[[Fact], Mapped]:
    def tell(fact: Fact) -> Mapped:
        row = fact.row
        details = row.get("details", {})
        account = row.get("account") or (row.get("user") if activity != _SWITCH else "")
        session = details.get("sessionId")
        source = _endpoint(details.get("sourceAddress"), None)
        return (
            3002,
            activity,
            {
                "user": {"name": account or _UNKNOWN},
                "status_id": status,
                "src_endpoint": source,
                "is_remote": True if source else None,
                "session": {
                    "uid": None if session is None else str(session),
                    "terminal": details.get("terminal"),
                },
                "dst_endpoint": {
                    "uid": row.get("hostID") or _UNKNOWN,
                    "hostname": row.get("hostname"),
                },
            },
        )

    return tell


_SWITCH = 7


def _account(fact: Fact) -> Mapped:
    details = fact.row.get("details", {})
    action, fields = details.get("action", ""), details.get("fields", [])
    number = details.get("number")
    what = {
        "name": fact.row.get("account") or _UNKNOWN,
        "uid": None if number is None else str(number),
    }
    if details.get("subject") == "group":
        activity = {"added": 6, "removed": 5}.get(action, _OTHER)
        return 3006, activity, {"group": what}
    activity = {"added": 1, "removed": 6}.get(action, _OTHER)
    if fields == ["password"]:
        activity = 3
    return 3001, activity, {"user": what}


_CLASSES: dict[str, Callable[[Fact], Mapped]] = {
    "exec": _exec,
    "exit": _exit,
    "file_change": _file,
    "connect": _network(_OPEN, 2),
    "listen": _network(_LISTEN, 1),
    "session_start": _authentication(1, 1),
    "session_end": _authentication(2, 1),
    "auth_failure": _authentication(1, 2),
    "privilege_use": _authentication(_SWITCH, 1),
    "account_change": _account,
}
