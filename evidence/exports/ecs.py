"""Elastic Common Schema 9.0 as JSON lines; what it has no word for is under `nightherd`.

Reference: https://www.elastic.co/docs/reference/ecs
"""

import orjson

from evidence.exports.documents import Documents, ip_of, present
from evidence.exports.facts import Fact
from evidence.exports.sentence import sentence
from evidence.kinds import Row, readable

ECS_VERSION = "9.0.0"
CATEGORIES: dict[str, tuple[list[str], list[str]]] = {
    "exec": (["process"], ["start"]),
    "exit": (["process"], ["end"]),
    "file_change": (["file"], ["change"]),
    "connect": (["network"], ["connection", "start"]),
    "listen": (["network"], ["start"]),
    "session_start": (["session", "authentication"], ["start"]),
    "session_end": (["session"], ["end"]),
    "auth_failure": (["authentication"], ["denied"]),
    "privilege_use": (["iam"], ["user"]),
    "account_change": (["iam"], ["user", "change"]),
    "firewall_change": (["configuration"], ["change"]),
    "host_facts": (["host"], ["info"]),
    "agent_status": (["host"], ["info"]),
    "package_change": (["package"], ["change"]),
    "service_change": (["host"], ["change"]),
    "kernel_change": (["driver"], ["change"]),
    "time_change": (["host"], ["change"]),
    "login_user_change": (["session"], ["change"]),
    "privilege_gain": (["process"], ["change"]),
    "process_access": (["process"], ["access"]),
    "namespace_change": (["process"], ["change"]),
    "mount_change": (["host"], ["change"]),
    "raw_socket": (["network"], ["start"]),
    "file_read": (["file"], ["access"]),
    "file_hash": (["file"], ["info"]),
    "exec_failure": (["process"], ["start"]),
    "fork": (["process"], ["start"]),
    "gap": ([], []),
    "": ([], []),
}
"""Kind -> event.category and event.type, out of what these may hold together. Every kind has its
line, also one for which ECS has no words: a test names what was forgotten."""
_OPERATIONS = {"created": "creation", "linked": "creation", "deleted": "deletion"}


class Ecs(Documents):
    """Renders facts as ECS documents."""

    name, suffix, id_at = "ecs", "ecs.ndjson", ("event", "id")

    @staticmethod
    def document(fact: Fact) -> Row:
        """Return what is said of a fact."""
        return present(_document(fact))


def _document(fact: Fact) -> Row:
    row = fact.row
    category, types = CATEGORIES.get(row["kind"], ([], []))
    change = readable(fact.change) if fact.change is not None else {}
    read = readable(fact.read) if fact.read is not None else {}
    operation = change.pop("operation", "")
    if fact.change is not None:
        types = [_OPERATIONS.get(operation, "change")]
    return {
        "@timestamp": row["time"],
        "ecs": {"version": ECS_VERSION},
        "message": sentence(fact),
        "event": {
            "id": fact.fact_id,
            "kind": "event",
            "category": category,
            "type": types,
            "action": f"{row['kind']}-{operation}" if operation else row["kind"],
            "outcome": _outcome(row),
            "module": "nightherd",
            "dataset": "nightherd.event",
            "end": row.get("lastTime"),
        },
        "host": {"id": row.get("hostID"), "name": row.get("hostname")},
        "process": _process(row),
        "user": _user(row),
        "file": _file(change or read) or _hashed(row),
        "source": _source(row),
        "destination": _destination(row),
        "server": _place(row.get("localAddress"), row.get("localPort"))
        if row["kind"] == "listen"
        else None,
        "network": {"transport": row.get("protocol")},
        "dns": {"question": {"name": row["dnsNames"][0]}} if "dnsNames" in row else None,
        "error": {"code": row.get("details", {}).get("error")}
        if row["kind"] == "exec_failure"
        else None,
        "service": {"name": row.get("service")},
        "container": {
            "id": row.get("containerID"),
            "image": {"name": row.get("containerImage")},
        },
        "nightherd": {
            "count": row["count"],
            "attribution": row.get("attribution"),
            "provenance": row.get("provenance"),
            "herd": row.get("herd"),
            "origin": row.get("origin"),
            "session_id": row.get("sessionID"),
            "terminal": row.get("terminal"),
            "ancestors": row.get("ancestors"),
            "package": row.get("package"),
            "maintenance": row.get("maintenance"),
            "script": row.get("scriptPath"),
            "cgroup": row.get("cgroup"),
            "signal": row.get("signal"),
            "previous_path": change.get("previousPath"),
            "change_count": change.get("count"),
            "requested_mode": change.get("requestedMode"),
            "attribute": change.get("attribute"),
            "path_cut_bytes": change.get("pathCutBytes"),
            "read_count": read.get("count"),
            "secret": read.get("secret"),
            "cut": row.get("cut"),
            "paths": row.get("paths"),
            "dns_names": row.get("dnsNames"),
            "arguments_cut": row.get("argumentsCut"),
            "traits": row.get("traits"),
            "mount_namespace": row.get("mountNamespace"),
            "process_device": row.get("processDevice"),
            "process_inode": row.get("processInode"),
            "born_from": orjson.dumps(row["bornFrom"]).decode() if "bornFrom" in row else None,
            # As text: names within would become fields of the index.
            "details": orjson.dumps(row["details"]).decode()
            if "details" in row and fact.change is None and fact.read is None
            else None,
        },
    }


def _outcome(row: Row) -> str:
    if row["kind"] in ("auth_failure", "exec_failure"):
        return "failure"
    return "unknown" if row["kind"] in ("connect", "gap", "") else "success"


def _process(row: Row) -> Row:
    program = row.get("processPath", "")
    return {
        "pid": row.get("pid"),
        "entity_id": row.get("execID"),
        "executable": program,
        "name": program.rpartition("/")[2],
        "command_line": row.get("command"),
        "working_directory": row.get("workingDirectory"),
        "start": row.get("startTime"),
        "exit_code": row.get("exitCode"),
        "parent": {"pid": row.get("ppid"), "entity_id": row.get("parentExecID")},
    }


def _user(row: Row) -> Row:
    login, user_id = row.get("loginUserID"), row.get("userID")
    number = user_id if login is None else login
    target = row.get("account") if row["kind"] in ("privilege_use", "account_change") else None
    if row["kind"] in ("auth_failure", "session_start"):
        return {"name": row.get("account")}
    return {
        "name": row.get("user"),
        "id": None if number is None else str(number),
        "effective": {
            "name": row.get("effectiveUser"),
            "id": None if "effectiveUserID" not in row else str(row["effectiveUserID"]),
        },
        "target": {"name": target},
    }


def _file(change: Row) -> Row:
    if not change:
        return {}
    path = change.get("path", "")
    folder, _, name = path.rpartition("/")
    mode, owner, group = (change.get(name) for name in ("mode", "ownerId", "groupId"))
    return {
        "path": path,
        "name": name,
        "directory": folder or "/",
        "type": "dir" if change.get("directory") else None,
        "mode": None if mode is None else f"{mode & 0o7777:04o}",
        "uid": owner,
        "gid": group,
    }


def _hashed(row: Row) -> Row:
    """Return the file that a hash is of."""
    if row["kind"] != "file_hash":
        return {}
    details = row.get("details", {})
    device, inode = details.get("device"), details.get("inode")
    return {
        **_file({"path": row["paths"][0]} if "paths" in row else {}),
        "hash": {"sha256": row.get("sha256")},
        "size": details.get("sizeBytes"),
        "device": None if device is None else str(device),
        "inode": None if inode is None else str(inode),
        "mtime": details.get("modifiedTime"),
        "ctime": details.get("changedTime"),
    }


def _destination(row: Row) -> Row:
    if row.get("protocol") == "unix" and "paths" in row:
        return {"address": row["paths"][0]}
    return _place(row.get("remoteAddress"), row.get("remotePort"))


def _source(row: Row) -> Row:
    if row["kind"] == "connect":
        return _place(row.get("localAddress"), row.get("localPort"))
    details = row.get("details", {})
    return _place(details.get("sourceAddress") or row.get("sourceAddress"), None)


def _place(address: str | None, port: int | None) -> Row:
    return {"address": address, "ip": ip_of(address), "port": port}
