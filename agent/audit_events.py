"""Audit records of logins, sudo, services, packages, the kernel and its filters, as events.

What a record says follows from it alone (`fact_of`); who did it is looked up (`events_of`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from agent.failed_execs import told_failure
from agent.lines import Ran
from agent.processes import Process
from agent.sensors.audit_processes import EXEC_FAILED
from agent.sensors.exec_failures import Failure
from agent.sensors.records import UNSET_ID, AuditRecord
from agent.stages.fold import Made
from agent.stages.identify import Identifier
from agent.stages.privileges import gives_rights, request_of
from agent.stages.redact import redact_text
from agent.stages.sessions import UNKNOWN, kind_of_opener
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_REFUSED = frozenset({"USER_AUTH", "USER_LOGIN", "USER_ACCT"})
_ADDRESS = frozenset({"USER_LOGIN", "USER_START", "CRED_ACQ", "USER_ACCT"})
TARGET = frozenset({"USER_START", "CRED_REFR", "CRED_ACQ"})
"""Types of records that may say whose rights sudo gave."""
SESSIONS = frozenset({"LOGIN", "USER_START", "USER_END", *_ADDRESS})
"""Types of records that tell of a session's begin, end or origin."""
_TOLD_IN_ANY_CASE = frozenset({"SERVICE_START", "SERVICE_STOP"})
_DELETE_MODULE = {b"c000003e": b"176", b"40000003": b"129", b"c00000b7": b"106"}
"""Number of delete_module, by architecture."""
_SUFFIXES = frozenset(b"service socket timer mount automount swap target path slice scope".split())
_Package, _Kernel = events.PackageChange, events.KernelChange
_Service = events.ServiceChange
_PACKAGES = {
    b"install": _Package.ACTION_INSTALLED,
    b"update": _Package.ACTION_UPGRADED,
    b"remove": _Package.ACTION_REMOVED,
}
NOBODY = events.Image()

Fields = Mapping[str, bytes]
Targets = Mapping[bytes, bytes]
"""Pid of sudo -> the account whose rights it gave: other records than its USER_CMD say it."""


def targets_of(records: Iterable[AuditRecord]) -> Targets:
    """Return whose rights each sudo of `records` gave."""
    return {
        record.fields.get("pid", b""): record.fields["acct"]
        for record in records
        if record.kind in TARGET
        and record.fields.get("exe", b"").endswith(b"/sudo")
        and record.fields.get("acct")
    }


def events_of(
    record: AuditRecord, identifier: Identifier, boot_ns: int, targets: Targets | None = None
) -> Iterator[Made]:
    """Yield the events that one record shows; note late facts about sessions.

    Args:
        record: as the sensor parsed it.
        identifier: knows processes and sessions.
        boot_ns: now, for facts that change what is known from here on.
        targets: of the records that came together with this one.
    """
    kind, fields = record.kind, record.fields
    if kind in _ADDRESS and succeeded(fields):
        _note_address(fields, identifier, boot_ns)
    may_tell = _may_tell(kind, fields)
    if not may_tell and kind != "LOGIN":
        return
    pid = fields.get("pid", b"")
    process = identifier.processes.who(int(pid)) if pid.isdigit() and len(pid) < 10 else None  # noqa: PLR2004
    if kind == "LOGIN" and process is not None and succeeded(fields):
        _note_login(fields, identifier, process, boot_ns)
    if not may_tell:
        return
    ran = _ran(process, fields.get("exe", b"")) if process is not None else None
    event = fact_of(record, ran.image if ran is not None else NOBODY, targets or {})
    if event is not None:
        event.attribution = (
            events.ATTRIBUTION_EXACT if ran is not None else events.ATTRIBUTION_UNKNOWN
        )
        yield Made(ran, event, urgent=True)


def fact_of(record: AuditRecord, image: events.Image, targets: Targets) -> events.Event | None:
    """Return what a record says, without who did it; None when it is no event.

    Args:
        record: as it was parsed.
        image: who wrote it, for what its command line tells beside; NOBODY when not known.
        targets: see `targets_of`.
    """
    kind, fields = record.kind, record.fields
    if not _may_tell(kind, fields):
        return None
    event = events.Event()
    tell = _FACTS.get(kind)
    if kind in _REFUSED and not succeeded(fields):
        event.auth_failure.CopyFrom(_failure(fields))
    elif tell is not None:
        tell(event, fields, image, targets)
    if event.WhichOneof("kind") is None:
        return None
    event.event_time.seconds, event.event_time.nanos = divmod(record.wall_ns, clock.NS)
    return event


def _may_tell(kind: str, fields: Fields) -> bool:
    """Whether a record may be an event: it succeeded, or was refused, or says both."""
    if succeeded(fields):
        return kind in _FACTS
    return kind in _REFUSED or kind in _TOLD_IN_ANY_CASE


def succeeded(fields: Fields) -> bool:
    """Whether what a record tells of was done; most say nothing, and then it was."""
    return fields.get("res", b"success") in (b"success", b"1", b"yes")


def _ran(process: Process, executable: bytes) -> Ran:
    """Return the image of `process` that ran `executable`: it may have run another since."""
    if executable and process.image.executable != executable:
        for ran in reversed(process.candidates):
            if ran.image.executable == executable:
                return ran
    return process.ran


def _note_address(fields: Fields, identifier: Identifier, boot_ns: int) -> None:
    session, address = fields.get("ses", b""), _text(fields, "addr")
    if session.isdigit() and address not in ("", "?"):
        identifier.book.address_known(int(session), address, boot_ns)


def note_session(record: AuditRecord, identifier: Identifier, boot_ns: int) -> None:
    """Learn from a record of the kernel's time `boot_ns` who opened or ended which session."""
    fields, kind = record.fields, record.kind
    pid, session_id = _number(fields, "pid"), _number(fields, "ses")
    if not succeeded(fields) or not pid:
        return
    book, executable = identifier.book, fields.get("exe", b"")
    if session_id in (None, UNSET_ID):
        if kind in _ADDRESS and (address := _text(fields, "addr")) not in ("", "?"):
            book.address_of_opener(pid, address)
        return
    if session_id is None:
        return
    if kind == "USER_END":
        book.closed(session_id, pid, boot_ns)
    elif kind == "USER_START" and kind_of_opener(executable) == UNKNOWN:
        return  # sudo and su, within a session
    elif kind in ("LOGIN", "USER_START"):
        user = _number(fields, "auid")
        old = _number(fields, "old-auid")
        if user is not None and (kind == "USER_START" or old == UNSET_ID):
            book.opened(session_id, user, pid, executable, boot_ns)
    if kind in _ADDRESS:
        _note_address(fields, identifier, boot_ns)


def _number(fields: Fields, name: str) -> int | None:
    """Return a number of 32 bits."""
    text = fields.get(name, b"")
    return int(text) if text.isdigit() and len(text) <= 10 else None  # noqa: PLR2004


def _note_login(fields: Fields, identifier: Identifier, process: Process, boot_ns: int) -> None:
    """A login uid was written: the book knows whether that is a login or a change."""
    now = fields.get("auid", b""), fields.get("ses", b"")
    if all(each.isdigit() and len(each) <= 10 for each in now):  # noqa: PLR2004  (32 bits)
        identifier.book.login_is(process, (int(now[0]), int(now[1])), boot_ns)


def _failure(fields: Fields) -> events.AuthFailure:
    terminal = _text(fields, "terminal")
    address = _text(fields, "addr")
    return events.AuthFailure(
        account=fields.get("acct", b""),
        source_address="" if address == "?" else address,
        terminal="" if terminal in ("?", "ssh", "cron") else terminal.removeprefix("/dev/"),
        program=fields.get("exe", b""),
    )


def _sudo(event: events.Event, fields: Fields, image: events.Image, targets: Targets) -> None:
    event.privilege_use.command = redact_text(fields.get("cmd", b""))
    asked = request_of(image.executable, image.arguments).target_user
    event.privilege_use.target_user = _shown(targets.get(fields.get("pid", b""), b"") or asked)


def _su(event: events.Event, fields: Fields, image: events.Image, _: Targets) -> None:
    executable = fields.get("exe", b"")
    if gives_rights(executable) and not executable.endswith(b"/sudo"):  # sudo has its USER_CMD
        asked = request_of(image.executable, image.arguments)
        event.privilege_use.command = redact_text(asked.command)
        event.privilege_use.target_user = _text(fields, "acct")


def _filter(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    event.firewall_change.operation = _text(fields, "op") or "change"
    event.firewall_change.table = _text(fields, "table")


def _started(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    event.service_change.CopyFrom(_service(fields, _Service.ACTION_STARTED))


def _stopped(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    event.service_change.CopyFrom(_service(fields, _Service.ACTION_STOPPED))


def _service(fields: Fields, action: "_Service.Action.ValueType") -> _Service:
    unit = fields.get("unit", b"")
    if unit and unit.rpartition(b".")[2] not in _SUFFIXES:
        unit += b".service"  # systemd leaves it out
    return _Service(unit=_shown(unit), action=action, succeeded=succeeded(fields))


def _package(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    name, version = _parts(_text(fields, "sw"))
    if name:
        event.package_change.name, event.package_change.version = name, version
        event.package_change.manager = _text(fields, "sw_type") or "rpm"
        action = _PACKAGES.get(fields.get("op", b""), _Package.ACTION_UNSPECIFIED)
        event.package_change.action = action
        if action == _Package.ACTION_REMOVED:
            event.package_change.previous_version, event.package_change.version = version, ""


def _parts(package: str) -> tuple[str, str]:
    """Split name-version-release.architecture into the name, and version-release."""
    whole = package.rpartition(".")[0] or package
    parts = whole.rsplit("-", 2)
    return (parts[0], f"{parts[1]}-{parts[2]}") if len(parts) == 3 else (package, "")  # noqa: PLR2004


def _module(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    event.kernel_change.name = _text(fields, "name")
    call = fields.get("syscall", b"")
    if call:  # of the record of the system call, when it came with it
        removes = _DELETE_MODULE.get(fields.get("arch", b"")) == call
        event.kernel_change.action = (
            _Kernel.ACTION_MODULE_UNLOADED if removes else _Kernel.ACTION_MODULE_LOADED
        )


def _bpf(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    number, operation = fields.get("prog-id", b""), fields.get("op", b"")
    if operation in (b"LOAD", b"UNLOAD") and number.isdigit() and len(number) < 12:  # noqa: PLR2004
        loads = operation == b"LOAD"
        event.kernel_change.program_id = int(number)
        event.kernel_change.action = (
            _Kernel.ACTION_BPF_LOADED if loads else _Kernel.ACTION_BPF_UNLOADED
        )


def _not_executed(event: events.Event, fields: Fields, _: events.Image, __: Targets) -> None:
    failure = Failure(
        None,
        fields["path"],
        _text(fields, "error"),
        0,
        int(fields["last"]),
        count=int(fields["count"]),
    )
    event.CopyFrom(told_failure(failure))


_Fact = Callable[[events.Event, Fields, events.Image, Targets], None]
_FACTS: Mapping[str, _Fact] = {
    "USER_CMD": _sudo,
    "USER_START": _su,
    "NETFILTER_CFG": _filter,
    "SERVICE_START": _started,
    "SERVICE_STOP": _stopped,
    "SOFTWARE_UPDATE": _package,
    "KERN_MODULE": _module,
    "BPF": _bpf,
    EXEC_FAILED: _not_executed,
}
TOLD = frozenset(_FACTS) | _REFUSED | _ADDRESS
"""Types of records that may be an event, or tell something about a session."""


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def _text(fields: Fields, name: str) -> str:
    return _shown(fields.get(name, b""))
