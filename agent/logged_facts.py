"""What an audit log tells that on a living host is learned better: from files, from clocks.

There accounts are read before and after each change, and steps of the clock are seen. A log has
only the records that tools and the kernel wrote about it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from agent.audit_events import succeeded
from agent.sensors.records import UNSET_ID, AuditRecord
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_Change = events.AccountChange
_ACCOUNTS: Final = {
    "ADD_USER": ("add user", "adding user", _Change.ACTION_ADDED, _Change.SUBJECT_USER),
    "DEL_USER": ("delete user", "deleting user", _Change.ACTION_REMOVED, _Change.SUBJECT_USER),
    "ADD_GROUP": ("add group", "adding group", _Change.ACTION_ADDED, _Change.SUBJECT_GROUP),
    "DEL_GROUP": ("delete group", "deleting group", _Change.ACTION_REMOVED, _Change.SUBJECT_GROUP),
}
"""Record type -> what its `op` has to be (they also tell of homes and of failures)."""
_FIELDS: Final = {
    b"chauthtok": "password",
    b"password": "password",
    b"uid": "uid",
    b"gid": "gid",
    b"home": "home",
    b"shell": "shell",
    b"comment": "comment",
    b"expir": "expiry",
}
"""Word in `op` -> field of the account that was changed."""
_CHANGES: Final = frozenset(("USER_CHAUTHTOK", "USER_MGMT", "ACCT_LOCK", "ACCT_UNLOCK"))
_READS: Final = (b"display", b"list", b"check")
_MOST_DIGITS: Final = 12

Fields = Mapping[str, bytes]


def logged_fact_of(record: AuditRecord) -> events.Event | None:
    """Return what a record of a log says, without who did it; None when it is no event."""
    tell = _FACTS.get(record.kind)
    if tell is None or not succeeded(record.fields):
        return None
    event = events.Event(event_time=clock.to_timestamp(record.wall_ns))
    tell(event, record)
    return event if event.WhichOneof("kind") else None


def _account(event: events.Event, record: AuditRecord) -> None:
    fields = record.fields
    *operations, action, subject = _ACCOUNTS[record.kind]
    if _operation(fields).decode("utf-8", "replace") in operations:
        _named(event, fields, subject).action = action


def _changed(event: events.Event, record: AuditRecord) -> None:
    operation = _operation(record.fields)
    found = next((field for word, field in _FIELDS.items() if word in operation), None)
    if found is not None and not operation.startswith(_READS):
        change = _named(event, record.fields, _Change.SUBJECT_USER)
        change.action = _Change.ACTION_CHANGED
        change.fields.append(found)


def _members(event: events.Event, record: AuditRecord) -> None:
    group, account = record.fields.get("grp", b""), record.fields.get("acct", b"")
    operation = _operation(record.fields)
    if group and account and b"user" in operation and b"group" in operation:
        change = event.account_change
        change.action, change.subject = _Change.ACTION_CHANGED, _Change.SUBJECT_GROUP
        change.name = group
        change.fields.append("members")
        gone = operation.startswith((b"delet", b"remov"))
        (change.members_removed if gone else change.members_added).append(account)


def _named(
    event: events.Event, fields: Fields, subject: "_Change.Subject.ValueType"
) -> events.AccountChange:
    change = event.account_change
    change.subject = subject
    name = fields.get("acct", b"") or fields.get("grp", b"") or fields.get("ID", b"")
    change.name = b"" if name.startswith(b"unknown(") else name
    number = number_of(fields.get("id", b""))
    if number is not None and number != UNSET_ID:
        change.number = number
    return change


def _operation(fields: Fields) -> bytes:
    return fields.get("op", b"").replace(b"-", b" ").lower()


def _clock(event: events.Event, record: AuditRecord) -> None:
    seconds = _signed(record.fields.get("sec", b""))
    step_ns = seconds * clock.NS + _signed(record.fields.get("nsec", b""))
    if step_ns:
        event.time_change.step_ns = step_ns


def number_of(raw: bytes) -> int | None:
    """Return a number that a record may have; None when it has none that is sensible."""
    return int(raw) if raw.isdigit() and len(raw) <= _MOST_DIGITS else None


def _signed(raw: bytes) -> int:
    # 9 digits each: what is larger does not fit into 64 bits of nanoseconds, and is no clock's.
    number = number_of(raw.removeprefix(b"-")[:9]) or 0
    return -number if raw.startswith(b"-") else number


_FACTS: Final[Mapping[str, Callable[[events.Event, AuditRecord], None]]] = {
    **dict.fromkeys(_ACCOUNTS, _account),
    **dict.fromkeys(_CHANGES, _changed),
    "GRP_MGMT": _members,
    "TIME_INJOFFSET": _clock,
}
LOGGED: Final = frozenset(_FACTS)
"""Types of records that may say one."""
