"""Which filesystems are this machine's own: reading another one may take for ever."""

import os
import time
from dataclasses import dataclass, field
from typing import Final

from agent.sensors.mounts import unescaped

LOCAL: Final = frozenset(
    b"ext2 ext3 ext4 xfs btrfs f2fs jfs reiserfs nilfs2 bcachefs zfs tmpfs ramfs rootfs overlay "
    b"aufs squashfs erofs iso9660 udf vfat msdos exfat ntfs3 hfsplus ecryptfs devtmpfs".split()
)
"""What the kernel reads by itself, from a disk or memory."""
_KNOWN_S: Final = 10.0
_MOST_TABLES: Final = 64
_MOUNT_POINT: Final = 4
_TYPE_BEHIND: Final = b" - "
_MEMORY: Final = b"/memfd:"


@dataclass(frozen=True, slots=True)
class _Table:
    """The mounts of one namespace."""

    read_s: float
    types: dict[int, bytes] = field(default_factory=dict)
    """Number of a mount -> type of its filesystem."""
    points: dict[bytes, bytes] = field(default_factory=dict)
    """Where something is mounted -> type of what lies on top."""


class Filesystems:
    """Types of mounts, as the tables of processes tell them.

    Nothing here asks a filesystem anything: that is what may hang.
    """

    def __init__(self) -> None:
        """Know no mount yet."""
        self._tables: dict[int, _Table] = {}

    def may_be_looked_up(self, path: bytes) -> bool:
        """Whether an absolute path lies on a filesystem of our own, as it is spelt."""
        points = self._table(os.getpid()).points
        while path not in points and len(path) > 1:
            path = path.rpartition(b"/")[0] or b"/"
        return points.get(path, b"rootfs") in LOCAL

    def is_local(self, file: int, pid: int) -> bool:
        """Whether an open file (O_PATH) that process `pid` uses lies on a filesystem of our own."""
        mount = _mount_of(file)
        for whose in (os.getpid(), pid) if pid > 0 else (os.getpid(),):
            if (found := self._table(whose).types.get(mount)) is not None:
                return found in LOCAL
        # Files in memory lie on a mount that no table has.
        return os.readlink(b"/proc/self/fd/%d" % file).startswith(_MEMORY)  # noqa: PTH115 - bytes

    def _table(self, pid: int) -> _Table:
        known = self._tables.get(pid)
        if known is not None and time.monotonic() - known.read_s < _KNOWN_S:
            return known
        if len(self._tables) >= _MOST_TABLES:
            self._tables.clear()
        table = self._tables[pid] = _read(pid)
        return table


def _read(pid: int) -> _Table:
    table = _Table(time.monotonic())
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as opened:  # noqa: PTH123  (bytes of any kind)
            for line in opened:
                fields = line.split(b" ")
                type_ = line.rpartition(_TYPE_BEHIND)[2].split(b" ")[0]
                if len(fields) > _MOUNT_POINT and fields[0].isdigit():
                    table.types[int(fields[0])] = type_
                    table.points[unescaped(fields[_MOUNT_POINT])] = type_
    except OSError:
        pass
    return table


def _mount_of(file: int) -> int:
    """Return the number of the mount on which an open file lies; -1: not told."""
    with open(f"/proc/self/fdinfo/{file}", "rb") as opened:  # noqa: PTH123
        for line in opened:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    return -1
