"""What an event of each kind says, in the words of a row."""

from typing import Any

from chassis import clock
from chassis.text import show
from evidence import naming
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
    if kind:
        told = getattr(event, kind)
        KINDS.get(kind, _other)(told, row)
    return row


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
    if told.candidate_exec_ids:
        details["candidateExecIDs"] = [show(one) for one in told.candidate_exec_ids]
    if details:
        row["details"] = details


def _says_more(change: events.FileChange.Change) -> bool:
    return bool(
        change.previous_path
        or change.count > 1
        or change.directory
        or change.HasField("mode")
        or change.HasField("owner_id")
        or change.HasField("group_id")
    )


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


_ACCOUNTS = {
    "auth_failure": "account",
    "privilege_use": "target_user",
    "account_change": "name",
    "session_start": "login_user",
}


def _other(told: Any, row: Row) -> None:
    if details := readable(told):
        row["details"] = details


def _about(field: str) -> Any:
    def tell(told: Any, row: Row) -> None:
        if account := getattr(told, field):
            row["account"] = show(account)
        _other(told, row)

    return tell


def readable(message: Any) -> Row:
    """Return a message as JSON: bytes as text, enumerations in words, what is unset left out."""
    row: Row = {}
    for field, value in message.ListFields():
        name = field.json_name
        row[name] = [_value(field, v) for v in value] if field.is_repeated else _value(field, value)
    return row


def _value(field: Any, value: Any) -> Any:
    if field.type in (field.TYPE_BYTES, field.TYPE_STRING):
        return show(value)
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
    **{kind: _about(field) for kind, field in _ACCOUNTS.items()},
}
"""How the commonest kinds are told; all others as they are, under `details`."""
