"""Kinds of events as classes of OCSF: class, activity, and what only this class has."""

from collections.abc import Callable

from evidence.exports.facts import Fact
from evidence.exports.ocsf_objects import (
    UNKNOWN,
    endpoint_of,
    file_of,
    person_of,
    process_of,
    session_of,
)
from evidence.kinds import Row, readable

OTHER = 99
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
_READ, _MOUNT, _UNMOUNT = 2, 12, 13
_EXISTS, _DOES_NOT_EXIST = 1, 3
_SHA256 = 3
_SET_USER_ID = 5
_REACHED = {"attached": 4, "memoryWritten": 4, "signalled": 2}
"""What was done to a process -> Inject or Terminate."""

Mapped = tuple[int, int, Row]
"""class_uid, activity_id, and what the class has beyond what all have."""


def nothing_of_its_own(_: Fact) -> Mapped:
    """Return the base event: the schema has no class for it."""
    return 0, OTHER, {}


def _exec(fact: Fact) -> Mapped:
    if "pid" not in fact.row:
        return nothing_of_its_own(fact)
    row = fact.row
    parent = {"pid": row["ppid"], "uid": row.get("parentExecID")}
    actor = {"process": parent, "user": person_of(row), "session": session_of(row)}
    return 1007, 1, {"process": process_of(row), "actor": actor}


def _exit(fact: Fact) -> Mapped:
    if "pid" not in fact.row:
        return nothing_of_its_own(fact)
    special = {"process": process_of(fact.row), "exit_code": fact.row.get("exitCode")}
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


def _file_read(fact: Fact) -> Mapped:
    read = readable(fact.read) if fact.read is not None else {}
    return 1001, _READ, {"file": file_of(read.get("path", ""))}


def _mount(fact: Fact) -> Mapped:
    details = fact.row.get("details", {})
    activity = _UNMOUNT if details.get("operation") == "unmounted" else _MOUNT
    return 1001, activity, {"file": file_of(details.get("target", ""), folder=True)}


def _file_hash(fact: Fact) -> Mapped:
    row = fact.row
    found = file_of((row.get("paths") or [""])[0])
    if "sha256" in row:
        found["hashes"] = [{"algorithm_id": _SHA256, "value": row["sha256"]}]
    found["size"] = row.get("details", {}).get("sizeBytes")
    exists = _DOES_NOT_EXIST if row.get("details", {}).get("refusal") == "gone" else _EXISTS
    return 5007, 1, {"file": found, "query_result_id": exists}


def _process_access(fact: Fact) -> Mapped:
    details = fact.row.get("details", {})
    program = details.get("targetExecutable", "")
    number = details.get("targetUserId")
    target = {
        "pid": details.get("targetPid", 0),
        "uid": details.get("targetExecId"),
        "name": program.rpartition("/")[2],
        "file": file_of(program) if program else None,
        "user": {"uid": None if number is None else str(number)},
    }
    return 1007, _REACHED.get(details.get("operation", ""), OTHER), {"process": target}


def _set_user_id(fact: Fact) -> Mapped:
    if "pid" not in fact.row:
        return nothing_of_its_own(fact)
    return 1007, _SET_USER_ID, {"process": process_of(fact.row)}


def _exec_failure(fact: Fact) -> Mapped:
    details = fact.row.get("details", {})
    asked = details.get("requestedPath", "")
    words = details.get("arguments", [])
    # There is no process of it: its number is that of the one that tried.
    tried = {
        "pid": fact.row.get("pid", 0),
        "name": asked.rpartition("/")[2],
        "cmd_line": " ".join(words),
        "file": file_of(asked) if asked else None,
    }
    error = details.get("error")
    return 1007, 1, {"process": tried, "status_id": 2, "status_detail": error}


def _network(activity: int, direction: int) -> Callable[[Fact], Mapped]:
    def tell(fact: Fact) -> Mapped:
        row = fact.row
        protocol = row.get("protocol", "")
        here = endpoint_of(row.get("localAddress"), row.get("localPort"))
        there = endpoint_of(row.get("remoteAddress"), row.get("remotePort"))
        if activity == _LISTEN:
            here, there = None, here
        if protocol == "unix" and "paths" in row:
            there = {"name": row["paths"][0]}
        if not here and not there:
            there = {"name": UNKNOWN}
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
        source = endpoint_of(details.get("sourceAddress"), None)
        return (
            3002,
            activity,
            {
                "user": {"name": account or UNKNOWN},
                "status_id": status,
                "src_endpoint": source,
                "is_remote": True if source else None,
                "session": {
                    "uid": None if session is None else str(session),
                    "terminal": details.get("terminal"),
                },
                "dst_endpoint": {
                    "uid": row.get("hostID") or UNKNOWN,
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
        "name": fact.row.get("account") or UNKNOWN,
        "uid": None if number is None else str(number),
    }
    if details.get("subject") == "group":
        activity = {"added": 6, "removed": 5}.get(action, OTHER)
        return 3006, activity, {"group": what}
    activity = {"added": 1, "removed": 6}.get(action, OTHER)
    if fields == ["password"]:
        activity = 3
    return 3001, activity, {"user": what}


CLASSES: dict[str, Callable[[Fact], Mapped]] = {
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
    "privilege_gain": _set_user_id,
    "process_access": _process_access,
    "mount_change": _mount,
    "file_read": _file_read,
    "file_hash": _file_hash,
    "exec_failure": _exec_failure,
    "fork": _exec,
    **dict.fromkeys(
        (
            *("firewall_change", "host_facts", "agent_status", "gap", "package_change"),
            *("service_change", "kernel_change", "time_change", "login_user_change"),
            *("namespace_change", "raw_socket"),
        ),
        nothing_of_its_own,
    ),
}
"""Every kind, also those for which OCSF has no class: a test names what was forgotten."""
