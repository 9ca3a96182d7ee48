"""What eBPF programs tell beside processes, decoded: the layouts are those of agent/bpf/."""

import stat
from collections import OrderedDict
from collections.abc import Collection
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop, ntohs
from struct import Struct
from typing import Final, NamedTuple

import yaml

from agent.sensors.records import KernelRecord, SocketRecord

VALUES: Final = Struct("=4Q")
_ADDRESSES: Final = Struct("=HHHH16s16s")
_UNIX_SOCKETS: Final = Path(__file__).with_name("unix_sockets.yaml")
_TCP, _MODE, _CAPABILITY, _USER, _ACCESS, _SIGNAL, _NAMESPACE = 4, 5, 6, 7, 8, 9, 10
_MOUNT, _UNMOUNT, _UNMOUNTED, _MOVED, _MODULE, _PROGRAM = 11, 12, 13, 14, 15, 16
_DATAGRAM, _BOUND, _RAW_SOCKET, _UNIX = 17, 18, 19, 20
_TCP_LISTEN: Final = 10
_MAPPED_IPV4: Final = bytes(10) + b"\xff\xff"
_ATTACHED_BY_SIGNAL: Final = 1
_TEMPORARY: Final = (b"/tmp/", b"/var/tmp/", b"/dev/shm/")
_RIGHTS: Final = stat.S_ISUID | stat.S_ISGID
_MOST_PENDING: Final = 256
_MOST_BOUND: Final = 1024
KINDS: Final = {
    _MODE: "mode",
    _CAPABILITY: "capability",
    _USER: "user",
    _ACCESS: "access",
    _SIGNAL: "signal",
    _NAMESPACE: "namespace",
    _MOUNT: "mount",
    _UNMOUNTED: "unmount",
    _MOVED: "move",
    _MODULE: "module",
    _PROGRAM: "program",
    _RAW_SOCKET: "raw_socket",
}
"""Types that become a KernelRecord:

- mode: requested mode, mode after, uid | gid << 32; path
- capability: whether removed, mode, uid | gid << 32; path
- user: effective uid before, after
- access: operation (1 attached, 2 memory written), pid, effective uid of the target
- signal: number, pid, effective uid of the target
- namespace: operation (1 unshared, 2 entered), CLONE_NEW flags
- mount: flags of mount(2); source, file system, target
- unmount: flags of umount2(2); source, file system, target
- move: -; source, file system, target, where it was mounted ("/": nowhere)
- module: whether unloaded; name
- program: id
- raw_socket: address family, protocol
"""


class Fact(NamedTuple):
    """Header of a record, as far as all kinds have it."""

    type: int
    boot_ns: int
    start_ns: int
    pid: int
    thread: int
    flags: int
    sizes: tuple[int, ...]


@lru_cache(maxsize=4096)
def path_of(components: bytes, cut: int) -> bytes:
    """Join components that come leaf first with a NUL after each."""
    parts = components.split(b"\0")
    parts[-1] = b"" if not cut else b"/..."
    parts.reverse()
    return b"/".join(parts) if len(parts) > 1 else b"/"


class Facts:
    """Decodes records; keeps what two records tell together."""

    def __init__(self, refused: Collection[str] = (), sockets: Path = _UNIX_SOCKETS) -> None:
        """Know which programs do not run, and which unix sockets are watched."""
        self._attach_seen = "on_attach" not in refused
        self._sockets: list[str] = yaml.safe_load(sockets.read_text(encoding="utf-8"))["sockets"]
        self._unmounting: OrderedDict[int, tuple[bytes, ...]] = OrderedDict()
        self.bound: OrderedDict[tuple[str, int], None] = OrderedDict()
        """Addresses and ports of UDP sockets that were bound lately."""

    def unix_names(self) -> set[bytes]:
        """Return names of the watched unix sockets without their folders."""
        return {pattern.rpartition("/")[2].encode() for pattern in self._sockets}

    def record(self, fact: Fact, data: bytes, start: int) -> KernelRecord | SocketRecord | None:
        """Return what a record tells; None: nothing yet, or nothing to tell.

        Args:
            fact: its header.
            data: what it is a part of.
            start: where in `data` its header ends.
        """
        if fact.type in (_TCP, _BOUND):
            return self._socket(fact, *_ADDRESSES.unpack_from(data, start))
        numbers = VALUES.unpack_from(data, start)
        at = start + VALUES.size
        texts = []
        for size in fact.sizes:
            texts.append(data[at : at + size])
            at += size
        if fact.type == _DATAGRAM:
            return _datagram(fact, texts)
        if fact.type == _UNIX:
            return self._unix(fact, path_of(texts[0], fact.flags & 1))
        return self._kernel(fact, numbers, _texts(fact, texts))

    def _kernel(
        self, fact: Fact, numbers: tuple[int, ...], texts: tuple[bytes, ...]
    ) -> KernelRecord | None:
        if fact.type == _UNMOUNT:
            self._unmounting[fact.thread] = texts
            if len(self._unmounting) > _MOST_PENDING:
                self._unmounting.popitem(last=False)
            return None
        if fact.type == _UNMOUNTED:
            texts = self._unmounting.pop(fact.thread, ())
            if numbers[0] or not texts:  # refused
                return None
        elif fact.type == _MODE and not numbers[0] & _RIGHTS:
            if not texts[0].startswith(_TEMPORARY):
                return None
        elif fact.type == _ACCESS and numbers[3] == _ATTACHED_BY_SIGNAL and self._attach_seen:
            return None
        kind = KINDS.get(fact.type)
        if kind is None:
            return None
        return KernelRecord(kind, fact.boot_ns, fact.start_ns, fact.pid, numbers, texts)

    def _socket(
        self,
        fact: Fact,
        family: int,
        local_port: int,
        remote_port: int,
        state: int,
        local: bytes,
        remote: bytes,
    ) -> SocketRecord | None:
        if family not in (AF_INET, AF_INET6):
            return None
        listens = fact.type == _BOUND or state == _TCP_LISTEN
        record = SocketRecord(
            kind="listen" if listens else "connect",
            boot_ns=fact.boot_ns,
            pid=fact.pid,
            protocol="tcp" if fact.type == _TCP else "udp",
            local_address=_address(local, family),
            local_port=local_port,
            remote_address="" if listens else _address(remote, family),
            remote_port=0 if listens else ntohs(remote_port),
        )
        if fact.type == _BOUND:
            self.bound[record.local_address, local_port] = None
            if len(self.bound) > _MOST_BOUND:
                self.bound.popitem(last=False)
        return record

    def _unix(self, fact: Fact, path: bytes) -> SocketRecord | None:
        text = path.decode("utf-8", "surrogateescape")
        depth = text.count("/")
        for pattern in self._sockets:
            if pattern.count("/") == depth and fnmatchcase(text, pattern):
                return SocketRecord(
                    "connect", fact.boot_ns, fact.pid, "unix", "", 0, "", 0, path=path
                )
        return None


def _texts(fact: Fact, texts: list[bytes]) -> tuple[bytes, ...]:
    if fact.type in (_MODE, _CAPABILITY):
        return (path_of(texts[0], fact.flags & 1),)
    if fact.type in (_MOUNT, _UNMOUNT, _MOVED):
        source, kind, target, before = texts[:4]
        return (
            source.rstrip(b"\0"),
            kind.rstrip(b"\0"),
            path_of(target, fact.flags & 1 << 2),
            path_of(before, fact.flags & 1 << 3),
        )
    if fact.type == _MODULE:
        return (texts[0].split(b"\0", 1)[0],)
    return ()


def _datagram(fact: Fact, texts: list[bytes]) -> SocketRecord | None:
    family, local_port, remote_port, holds, local, remote = _ADDRESSES.unpack(texts[0])
    if family not in (AF_INET, AF_INET6):
        return None
    # A socket that speaks both has an address of the larger family.
    local_family = AF_INET if not any(local[4:]) else AF_INET6
    return SocketRecord(
        kind="connect",
        boot_ns=fact.boot_ns,
        pid=fact.pid if holds else 0,
        protocol="udp",
        local_address=_address(local, family if family == AF_INET6 else local_family),
        local_port=local_port,
        remote_address=_address(remote, family),
        remote_port=ntohs(remote_port),
        exact=bool(holds),
        payload=texts[1],
    )


def _address(raw: bytes, family: int) -> str:
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[:4])
    if raw[:12] == _MAPPED_IPV4:
        return inet_ntop(AF_INET, raw[12:])
    return inet_ntop(AF_INET6, raw)
