"""What sensors hand to the rest of the agent: raw facts, before anyone knows who stood behind them.

Times are nanoseconds of CLOCK_BOOTTIME. Names are bytes, as the kernel has them.
"""

import os
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from agent.sensors import audit_fields

RIGHTS: Final = stat.S_ISUID | stat.S_ISGID
"""Mode bits by which a program runs with the rights of its owner or group."""

UNSET_ID = 4294967295
"""The kernel's value for "no login uid" and "no session"."""
UNKNOWN_STATUS = -1
"""How a process ended that nobody saw end."""


class ProcessRecord(NamedTuple):
    """A process was forked, executed a program, or ended; or was found in a snapshot."""

    kind: str
    """"fork", "exec", "exit" or "snapshot"."""
    boot_ns: int
    """When it happened."""
    start_ns: int
    """When the process was forked (its identity together with pid and boot)."""
    pid: int
    ppid: int
    """Parent at that moment; for "fork" the process that forked."""
    session_leader: int
    """POSIX session id: pid of the session's leader (0: not known)."""
    user_id: int
    effective_user_id: int
    login_user_id: int
    """Audit login uid, UNSET_ID when there is none."""
    session_id: int
    """Audit session, UNSET_ID when there is none."""
    terminal: str
    """"pts/1", "tty1", or "" when there is none."""
    exit_status: int
    """For "exit": the kernel's exit_code (wait status: code << 8 | signal), or UNKNOWN_STATUS.
    Else 0.
    """
    requested_path: bytes
    executable: bytes
    """Absolute path; b"" for "fork" and "exit"."""
    arguments: tuple[bytes, ...]
    arguments_cut: bool
    working_directory: bytes
    cgroup: str
    """cgroup path, "/" or "" when at the root or not known."""
    exact: bool
    """False when read from /proc after the fact."""
    saved_user_id: int = UNSET_ID
    """Saved uid; UNSET_ID: not known."""
    device: int = 0
    """For "exec": device of the executable, as the kernel numbers it; 0: not known."""
    inode: int = 0
    """For "exec": inode number of the executable; 0: not known."""
    mount_namespace: int = 0
    """For "exec": inode number of its mount namespace; 0: not known."""
    traits: int = 0
    """For "exec": bits 1 << Trait of what only the kernel can tell of it."""


class KernelRecord(NamedTuple):
    """A process did something that a checkpoint of the kernel saw. Comes among the records of
    processes, in the order in which it happened.
    """  # noqa: D205  (one sentence would not do)

    kind: str
    """Which checkpoint; says what numbers and texts mean: see bpf_facts.py."""
    boot_ns: int
    start_ns: int
    """When the process was forked."""
    pid: int
    numbers: tuple[int, ...]
    texts: tuple[bytes, ...]


class SocketRecord(NamedTuple):
    """A process began a connection or opened a port."""

    kind: str
    """"connect" or "listen"."""
    boot_ns: int
    pid: int
    protocol: str
    """"tcp", "udp" or "unix"."""
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    exact: bool = True
    """False when it was found by looking afterwards: whose it was by then."""
    path: bytes = b""
    """For "unix": where the socket lies."""
    payload: bytes = b""
    """For "udp" to a name server: how the datagram begins."""


class FileRecord(NamedTuple):
    """A name or a file changed."""

    operation: str
    """"created", "linked", "modified", "truncated", "deleted", "renamed", "attributes"."""
    boot_ns: int
    """When it was read from the kernel (fanotify and inotify carry no time)."""
    pid: int
    """Thread group id of who did it; 0 when the source does not know."""
    path: bytes
    """Absolute path after the change."""
    previous_path: bytes
    """For "renamed": where it came from; b"" when not known."""
    directory: bool
    exact: bool = True
    """False when the change was found by looking afterwards: `pid` is then the best guess, or 0."""
    mode: int | None = None
    """The permission bits found when it was read: for "attributes", and for names that appeared
    with setuid or setgid. None: not known."""
    owner_id: int | None = None
    """For "attributes": uid of the owner, read with the mode. None: not known."""
    group_id: int | None = None
    """For "attributes": gid of the group, read with the mode. None: not known."""
    used_path: bytes = b""
    """The name it was changed through, when that is another one than the watched `path`: a hard
    link, a bind mount, what a symbolic link leads to. b"": `path` itself, or not known."""
    requested_mode: int | None = None
    """For "attributes": the permission bits that were requested. None: none, or not known."""
    attribute: str = ""
    """For "attributes": the extended attribute that was set or removed. "": none, or not known."""

    def joined_with(self, earlier: "FileRecord") -> "FileRecord":
        """Return what this record and an earlier one of the same change tell together."""
        best = self if self.mode is not None else earlier
        requested = self.requested_mode
        if requested is None:
            requested = earlier.requested_mode
        attribute = self.attribute or earlier.attribute
        if (best.requested_mode, best.attribute) == (requested, attribute):
            return best
        return best._replace(requested_mode=requested, attribute=attribute)

    @property
    def gives_rights(self) -> bool:
        """Whether rights were requested for whoever runs the file."""
        return bool(self.attribute or (self.requested_mode or 0) & RIGHTS)

    def seen_as(self, status: os.stat_result | None) -> "FileRecord":
        """This change, with what lstat told right after it; None: the name was gone by then."""
        if status is None:
            return self
        mode = stat.S_IMODE(status.st_mode)
        if self.operation == "attributes":
            return self._replace(mode=mode, owner_id=status.st_uid, group_id=status.st_gid)
        if self.operation not in ("created", "renamed") or stat.S_ISDIR(status.st_mode):
            return self
        operation = self.operation
        if operation == "created" and status.st_nlink > 1:
            operation = "linked"
        return self._replace(operation=operation, mode=mode if mode & RIGHTS else None)


class ReadRecord(NamedTuple):
    """A file that keeps a secret was opened."""

    boot_ns: int
    """When it was read from the kernel."""
    pid: int
    """Thread group id of who did it."""
    path: bytes
    """Absolute path under which it is watched."""
    secret: str
    """What kind of secret it is."""
    used_path: bytes = b""
    """The name it was opened by, when that is another one. b"": `path`, or not known."""
    exact: bool = True
    """False when `pid` is the best guess."""


class MountRecord(NamedTuple):
    """The mount table changed at or above watched names."""

    operation: str
    """"mounted", "unmounted", "moved", "bound" or "remounted"."""
    boot_ns: int
    """When it was noticed."""
    pid: int
    """Thread group id of who did it; 0 when it was found by looking at the table."""
    source: bytes
    """Device, or the folder of its filesystem that is shown."""
    target: bytes
    """Where it is mounted, absolute."""
    file_system: str
    """Its type. "": not known."""
    flags: int = 0
    """Flags of mount(2). 0: none, or not known."""
    watched: tuple[bytes, ...] = ()
    """Watched names that other files are seen under now, a few of them."""
    exact: bool = False
    """False when it was found by looking afterwards."""


class AuditRecord:
    """One record of the audit system. Most fields of most records nobody asks for: they are read
    when somebody does.
    """  # noqa: D205  (one sentence would not do)

    __slots__ = ("_fields", "kind", "serial", "text", "wall_ns")

    def __init__(
        self,
        kind: str,
        wall_ns: int,
        serial: int,
        text: bytes = b"",
        fields: Mapping[str, bytes] | None = None,
    ) -> None:
        """Hold a record.

        Args:
            kind: record type name, e.g. "USER_LOGIN", "LOGIN", "USER_CMD", "NETFILTER_CFG".
            wall_ns: the time it bears: nanoseconds since 1970.
            serial: number of the kernel's event that it belongs to.
            text: what follows the stamp, as it came.
            fields: when they are known already; else they are read from `text`.
        """
        self.kind, self.wall_ns, self.serial, self.text = kind, wall_ns, serial, text
        self._fields = fields

    @property
    def fields(self) -> Mapping[str, bytes]:
        """Its fields, decoded (hex and quotes resolved)."""
        if self._fields is None:
            self._fields = audit_fields.read(self.kind, self.text)
        return self._fields


class LossRecord(NamedTuple):
    """A sensor knows that it missed something."""

    source: str
    """"bpf", "fanotify", "inotify", "audit"."""
    boot_ns: int
    since_ns: int
    """Since when: the last moment at which all was well."""
    lost: int | None
    """How many; None when nobody counted."""
    detail: str
    bound: bool = False
    """True when it is not told because a folder goes beyond what is watched."""
    blind: bool = False
    """True when the source itself could not see: nothing reached it."""


Record = (
    ProcessRecord
    | KernelRecord
    | SocketRecord
    | FileRecord
    | ReadRecord
    | MountRecord
    | AuditRecord
    | LossRecord
)


class Sensor(Protocol):
    """One event source. Cheap to drain, never blocks."""

    name: str

    def drain(self) -> list[Record]:
        """All that came since the last call, oldest first. Raises OSError when the source died."""

    def close(self) -> None:
        """Release everything; leaves no rule, mark, mount or program behind. Safe to call twice."""
