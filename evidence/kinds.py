"""What an event of each kind says, in the words of a row."""

from typing import Any

from chassis import clock
from chassis.text import show
from evidence import naming
from evidence.subjects import PATH_KINDS, paths_of
from nightherd.event.v1 import event_pb2 as events

Row = dict[str, Any]


def moment(timestamp: Any) -> str:
    """Return a time as RFC 3339 in UTC with three fraction digits."""
    return clock.rfc3339(clock.from_timestamp(timestamp))


def event_fields(event: events.Event, kind: str) -> Row:
    """Return what an event of `kind` says beyond its time and who did it."""
    row: Row = {"count": event.count or 1}
    if event.HasField("last_event_time"):
        row["lastTime"] = moment(event.last_event_time)
    if attribution := event.attribution:
        row["attribution"] = naming.ATTRIBUTIONS.get(attribution, "unspecified")
    if event.cut:
        row["cut"] = True
    if kind in _WITH_PATHS and (paths := paths_of(event, kind)):
        row["paths"] = [show(path) for path, _ in paths]
    if kind:
        told = getattr(event, kind)
        KINDS.get(kind, _other)(told, row)
    return row


_WITH_PATHS = PATH_KINDS - {"file_change"}


def _exec(told: events.Exec, row: Row) -> None:
    if requested := told.requested_path:
        row["details"] = {"requestedPath": show(requested)}


def _exit(told: events.Exit, row: Row) -> None:
    if told.HasField("code"):
        row["exitCode"] = told.code
    if signal := told.signal:
        row["signal"] = signal
    row["details"] = {"lifetimeMs": told.lifetime_ms}


def _file_change(told: events.FileChange, row: Row) -> None:
    changes = told.changes
    row["changedPaths"] = [show(change.path) for change in changes]
    row["operations"] = [
        naming.OPERATIONS.get(change.operation, "unspecified") for change in changes
    ]
    details: Row = {}
    if any(_says_more(change) for change in changes):
        details["changes"] = [readable(change) for change in changes]
    _candidates(told, details)
    if cut := told.changes_cut:
        details["changesCut"] = cut
    if details:
        row["details"] = details


def _candidates(told: Any, details: Row) -> None:
    if told.candidate_exec_ids:
        details["candidateExecIDs"] = [show(one) for one in told.candidate_exec_ids]


def _says_more(change: events.FileChange.Change) -> bool:
    return bool(
        change.previous_path
        or change.count > 1
        or change.directory
        or change.HasField("mode")
        or change.HasField("owner_id")
        or change.HasField("group_id")
        or change.HasField("requested_mode")
        or change.attribute
        or change.path_cut_bytes
    )


def _file_read(told: events.FileRead, row: Row) -> None:
    details: Row = {}
    if told.reads:
        details["reads"] = [readable(read) for read in told.reads]
    _candidates(told, details)
    if cut := told.reads_cut:
        details["readsCut"] = cut
    if details:
        row["details"] = details


def _file_hash(told: events.FileHash, row: Row) -> None:
    if sha256 := told.sha256:
        row["sha256"] = sha256.hex()
    details = readable(told)
    details.pop("path", None)
    details.pop("sha256", None)
    if details:
        row["details"] = details


def _network(told: Any, row: Row) -> None:
    if protocol := told.protocol:
        row["protocol"] = naming.PROTOCOLS.get(protocol, "unspecified")
    if address := told.local_address:
        row["localAddress"] = show(address)
    if port := told.local_port:
        row["localPort"] = port


def _connect(told: events.Connect, row: Row) -> None:
    _network(told, row)
    if address := told.remote_address:
        row["remoteAddress"] = show(address)
    if port := told.remote_port:
        row["remotePort"] = port
    if told.dns_names:
        row["dnsNames"] = [show(name) for name in told.dns_names]


def _other(told: Any, row: Row) -> None:
    if details := readable(told):
        row["details"] = details


def _about(field: str) -> Any:
    def tell(told: Any, row: Row) -> None:
        if account := getattr(told, field):
            row["account"] = show(account)
        _other(told, row)

    return tell


_DIGESTS = frozenset({"sha256"})
"""Fields whose bytes are no text."""


def readable(message: Any) -> Row:
    """Return a message as JSON: bytes as text, enumerations in words, what is unset left out."""
    row: Row = {}
    for field, value in message.ListFields():
        name = field.json_name
        row[name] = [_value(field, v) for v in value] if field.is_repeated else _value(field, value)
    return row


def _value(field: Any, value: Any) -> Any:
    if field.type in (field.TYPE_BYTES, field.TYPE_STRING):
        return value.hex() if field.name in _DIGESTS else show(value)
    if field.type == field.TYPE_ENUM:
        return naming.EVENT_ENUMS[field.enum_type.full_name].get(value, str(value))
    if field.type != field.TYPE_MESSAGE:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return moment(value)
    return readable(value)


KINDS: dict[str, Any] = {
    "exec": _exec,
    "exit": _exit,
    "file_change": _file_change,
    "connect": _connect,
    "listen": _network,
    "session_start": _about("login_user"),
    "session_end": _other,
    "auth_failure": _about("account"),
    "privilege_use": _about("target_user"),
    "account_change": _about("name"),
    "firewall_change": _other,
    "host_facts": _other,
    "agent_status": _other,
    "gap": _other,
    "package_change": _other,
    "service_change": _other,
    "kernel_change": _other,
    "time_change": _other,
    "login_user_change": _other,
    "privilege_gain": _other,
    "process_access": _other,
    "namespace_change": _other,
    "mount_change": _other,
    "raw_socket": _other,
    "file_read": _file_read,
    "file_hash": _file_hash,
    "exec_failure": _other,
    "fork": _other,
}
"""How each kind is told; `_other`: all that it says as it is, under `details`."""
