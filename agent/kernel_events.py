"""What checkpoints of the kernel saw, as facts: what each kind of record becomes.

Who did it is not said here, and whom it was done to only by pid: see agent/doings.py.
"""

from collections.abc import Callable, Mapping
from socket import ntohs
from typing import Final

from agent.sensors.records import FileRecord, KernelRecord, MountRecord, SocketRecord
from nightherd.event.v1 import event_pb2 as events

_Access, _Kernel = events.ProcessAccess, events.KernelChange
_Namespace, _Raw = events.NamespaceChange, events.RawSocket
_ACCESSES: Final = {1: _Access.OPERATION_ATTACHED, 2: _Access.OPERATION_MEMORY_WRITTEN}
_NAMESPACES: Final = {1: _Namespace.OPERATION_UNSHARED, 2: _Namespace.OPERATION_ENTERED}
_KINDS: Final = (
    (0x0200_0000, _Namespace.KIND_CGROUP),
    (0x0800_0000, _Namespace.KIND_IPC),
    (0x0002_0000, _Namespace.KIND_MOUNT),
    (0x4000_0000, _Namespace.KIND_NETWORK),
    (0x2000_0000, _Namespace.KIND_PID),
    (0x0000_0080, _Namespace.KIND_TIME),
    (0x1000_0000, _Namespace.KIND_USER),
    (0x0400_0000, _Namespace.KIND_UTS),
)
"""Flags of clone(2), with the kind of namespace that each stands for."""
_FAMILIES: Final = {2: _Raw.FAMILY_INET, 10: _Raw.FAMILY_INET6, 17: _Raw.FAMILY_PACKET}
_AF_PACKET: Final = 17
_MS_REMOUNT, _MS_BIND, _MS_MOVE = 0x20, 0x1000, 0x2000
_UNSET: Final = 0xFFFF_FFFF
_MODE_BITS: Final = 0o7777
_PROTOCOLS = {
    "tcp": events.PROTOCOL_TCP,
    "udp": events.PROTOCOL_UDP,
    "unix": events.PROTOCOL_UNIX,
}
URGENT: Final = frozenset({"user", "access", "signal", "module", "program"})
"""Kinds that do not wait for others."""
MOUNT_KINDS: Final = frozenset({"mount", "unmount", "move"})
FILE_KINDS: Final = frozenset({"mode", "capability"})
"""Kinds that are changes of files."""
REPLACED: Final = {"KERN_MODULE": "modules", "BPF": "programs"}
"""Types of audit records that tell less than what a checkpoint tells."""


def file_of(record: KernelRecord) -> FileRecord:
    """Return the change of a file that a record of FILE_KINDS tells of."""
    first, mode, owners, _ = record.numbers
    of_mode = record.kind == "mode"
    return FileRecord(
        operation="attributes",
        boot_ns=record.boot_ns,
        pid=record.pid,
        path=record.texts[0],
        previous_path=b"",
        directory=False,
        mode=mode & _MODE_BITS,
        owner_id=owners & _UNSET,
        group_id=owners >> 32,
        requested_mode=first if of_mode else None,
        attribute="" if of_mode else "security.capability",
    )


def tell(event: events.Event, record: KernelRecord) -> None:
    """Say in `event` what a record of another kind tells."""
    TELL[record.kind](event, record)


def tell_socket(event: events.Event, record: SocketRecord) -> None:
    """Say in `event` what became of a socket."""
    protocol = _PROTOCOLS.get(record.protocol, events.PROTOCOL_UNSPECIFIED)
    if record.kind == "connect":
        event.connect.protocol = protocol
        event.connect.local_address = record.local_address
        event.connect.local_port = record.local_port
        event.connect.remote_address = record.remote_address
        event.connect.remote_port = record.remote_port
        event.connect.path = record.path
    else:
        event.listen.protocol = protocol
        event.listen.local_address = record.local_address
        event.listen.local_port = record.local_port


def _access(event: events.Event, record: KernelRecord) -> None:
    operation, pid, user, _ = record.numbers
    event.process_access.operation = _ACCESSES.get(operation, _Access.OPERATION_UNSPECIFIED)
    _target(event.process_access, pid, user)


def _signal(event: events.Event, record: KernelRecord) -> None:
    number, pid, user, _ = record.numbers
    event.process_access.operation = _Access.OPERATION_SIGNALLED
    event.process_access.signal = number
    _target(event.process_access, pid, user)


def _target(access: events.ProcessAccess, pid: int, user: int) -> None:
    access.target_pid = pid
    if user != _UNSET:
        access.target_user_id = user


def _namespace(event: events.Event, record: KernelRecord) -> None:
    operation, flags, _, _ = record.numbers
    change = event.namespace_change
    change.operation = _NAMESPACES.get(operation, _Namespace.OPERATION_UNSPECIFIED)
    change.kinds.extend(kind for bit, kind in _KINDS if flags & bit)


def mount_of(record: KernelRecord) -> MountRecord:
    """Return a record of MOUNT_KINDS as the change of the mount table that it tells of."""
    source, file_system, target = record.texts[:3]
    flags, operation = record.numbers[0], "mounted"
    if record.kind == "unmount":
        operation = "unmounted"
    elif record.kind == "move":
        flags, operation = 0, "moved"
        source = source if record.texts[3] == b"/" else record.texts[3]
    elif flags & _MS_REMOUNT:
        operation = "remounted"
    elif flags & _MS_BIND:
        operation = "bound"
    elif flags & _MS_MOVE:
        operation = "moved"
    return MountRecord(
        operation=operation,
        boot_ns=record.boot_ns,
        pid=record.pid,
        source=source,
        target=target,
        file_system=file_system.decode("utf-8", "backslashreplace"),
        flags=flags,
        exact=True,
    )


def _module(event: events.Event, record: KernelRecord) -> None:
    event.kernel_change.name = record.texts[0].decode("utf-8", "backslashreplace")
    event.kernel_change.action = (
        _Kernel.ACTION_MODULE_UNLOADED if record.numbers[0] else _Kernel.ACTION_MODULE_LOADED
    )


def _program(event: events.Event, record: KernelRecord) -> None:
    event.kernel_change.action = _Kernel.ACTION_BPF_LOADED
    event.kernel_change.program_id = record.numbers[0]


def _raw_socket(event: events.Event, record: KernelRecord) -> None:
    family, protocol, _, _ = record.numbers
    event.raw_socket.family = _FAMILIES.get(family, _Raw.FAMILY_UNSPECIFIED)
    # EtherTypes come as they stand in frames.
    event.raw_socket.protocol_number = (
        ntohs(protocol & 0xFFFF) if family == _AF_PACKET else protocol
    )


TELL: Final[Mapping[str, Callable[[events.Event, KernelRecord], None]]] = {
    "access": _access,
    "signal": _signal,
    "namespace": _namespace,
    "module": _module,
    "program": _program,
    "raw_socket": _raw_socket,
}
