"""Objects of OCSF that several of its classes hold: processes, users, files, endpoints."""

from evidence.exports.documents import ip_of
from evidence.kinds import Row

UNKNOWN = "unknown"
_LAST_PORT = 65_535


def process_of(row: Row) -> Row:
    """Return the actor, as a process."""
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


def person_of(row: Row) -> Row:
    """Return who stands behind the actor."""
    number = row.get("loginUserID", row["effectiveUserID"])
    return {"name": row.get("user"), "uid": str(number)}


def session_of(row: Row) -> Row | None:
    """Return the session of the actor; None: none."""
    if "sessionID" not in row:
        return None
    return {"uid": str(row["sessionID"]), "terminal": row.get("terminal")}


def file_of(path: str, *, folder: bool = False) -> Row:
    """Return a file object."""
    return {
        "path": path,
        "name": path.rpartition("/")[2] or path or UNKNOWN,
        "type_id": 2 if folder else 0,
    }


def endpoint_of(address: str | None, port: int | None) -> Row | None:
    """Return one end of a connection; None: nothing is known of it."""
    ip = ip_of(address)
    # A host may say anything; its schema takes what can be a port.
    port = port if port is not None and 0 < port <= _LAST_PORT else None
    if not address and not port:
        return None
    return {"ip": ip, "name": None if ip else address or UNKNOWN, "port": port}
