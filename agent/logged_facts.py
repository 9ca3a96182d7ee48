"""What an audit log tells that on a living host is learned better: from files, from clocks.

There accounts are read before and after each change, and steps of the clock are seen. A log has
only the records that tools and the kernel wrote about it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from agent.audit_events import succeeded
from agent.logged_accounts import account_change_of, number_of
from agent.sensors.records import AuditRecord
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_ACCOUNTS: Final = (
    *("ADD_USER", "DEL_USER", "ADD_GROUP", "DEL_GROUP", "USER_MGMT", "GRP_MGMT"),
    *("USER_CHAUTHTOK", "GRP_CHAUTHTOK", "ACCT_LOCK", "ACCT_UNLOCK", "USER_ACCT"),
)


def logged_fact_of(record: AuditRecord) -> events.Event | None:
    """Return what a record of a log says, without who did it; None when it is no event."""
    tell = _FACTS.get(record.kind)
    if tell is None or not succeeded(record.fields):
        return None
    event = events.Event(event_time=clock.to_timestamp(record.wall_ns))
    tell(event, record)
    return event if event.WhichOneof("kind") else None


def _account(event: events.Event, record: AuditRecord) -> None:
    change = account_change_of(record.kind, record.fields)
    if change is not None:
        event.account_change.CopyFrom(change)


def _clock(event: events.Event, record: AuditRecord) -> None:
    seconds = _signed(record.fields.get("sec", b""))
    step_ns = seconds * clock.NS + _signed(record.fields.get("nsec", b""))
    if step_ns:
        event.time_change.step_ns = step_ns


def _signed(raw: bytes) -> int:
    # 9 digits each: what is larger does not fit into 64 bits of nanoseconds, and is no clock's.
    number = number_of(raw.removeprefix(b"-")[:9]) or 0
    return -number if raw.startswith(b"-") else number


_FACTS: Final[Mapping[str, Callable[[events.Event, AuditRecord], None]]] = {
    **dict.fromkeys(_ACCOUNTS, _account),
    "TIME_INJOFFSET": _clock,
}
LOGGED: Final = frozenset(_FACTS)
"""Types of records that may say one."""
