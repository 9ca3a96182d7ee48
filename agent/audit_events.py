"""Audit records of logins, sudo and the packet filter, as events."""

from collections.abc import Iterator

from agent.sensors.records import AuditRecord
from agent.stages.fold import Made
from agent.stages.identify import Identifier
from agent.stages.redact import redact_text
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_REFUSED = frozenset({"USER_AUTH", "USER_LOGIN", "USER_ACCT"})
_ADDRESS = frozenset({"USER_LOGIN", "USER_START", "CRED_ACQ", "USER_ACCT"})


def events_of(record: AuditRecord, identifier: Identifier, boot_ns: int) -> Iterator[Made]:
    """Yield the events that one record shows; note late facts about sessions.

    Args:
        record: as the sensor parsed it.
        identifier: knows processes and sessions.
        boot_ns: now, for facts that change what is known from here on.
    """
    fields = record.fields
    succeeded = fields.get("res", b"success") in (b"success", b"1", b"yes")
    if succeeded and record.kind in _ADDRESS:
        _note_address(fields, identifier, boot_ns)
    if record.kind in _REFUSED and not succeeded:
        yield _made(record, identifier, auth_failure=_failure(fields))
    elif record.kind == "USER_CMD" and succeeded:
        # The record does not say whose rights were taken.
        use = events.PrivilegeUse(command=redact_text(fields.get("cmd", b"")))
        yield _made(record, identifier, privilege_use=use)
    elif record.kind == "NETFILTER_CFG":
        yield _made(
            record,
            identifier,
            firewall_change=events.FirewallChange(
                operation=_text(fields, "op") or "change", table=_text(fields, "table")
            ),
        )


def _note_address(fields: dict[str, bytes], identifier: Identifier, boot_ns: int) -> None:
    session, address = fields.get("ses", b""), _text(fields, "addr")
    if session.isdigit() and address not in ("", "?"):
        identifier.book.address_known(int(session), address, boot_ns)


def _failure(fields: dict[str, bytes]) -> events.AuthFailure:
    terminal = _text(fields, "terminal")
    address = _text(fields, "addr")
    return events.AuthFailure(
        account=fields.get("acct", b""),
        source_address="" if address == "?" else address,
        terminal="" if terminal in ("?", "ssh", "cron") else terminal.removeprefix("/dev/"),
        program=fields.get("exe", b""),
    )


def _made(record: AuditRecord, identifier: Identifier, **kind: object) -> Made:
    event = events.Event(event_time=clock.to_timestamp(record.wall_ns), **kind)  # type: ignore[arg-type]
    pid = record.fields.get("pid", b"")
    process = identifier.processes.who(int(pid)) if pid.isdigit() and len(pid) < 10 else None  # noqa: PLR2004
    event.attribution = (
        events.ATTRIBUTION_EXACT if process is not None else events.ATTRIBUTION_UNKNOWN
    )
    return Made(process.image if process is not None else None, event, urgent=True)


def _text(fields: dict[str, bytes], name: str) -> str:
    return fields.get(name, b"").decode("utf-8", "backslashreplace")
