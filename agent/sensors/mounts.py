"""Filesystems that are mounted while we watch: marks and watches belong to what lay there before.

Reads /proc/self/mountinfo (proc_pid_mountinfo(5)); polling it tells when it changed.
"""

import os
import re
import select
from collections.abc import Iterator
from typing import Final

_FILE: Final = "/proc/self/mountinfo"
HIDDEN: Final = "another file is mounted over it"
_PAUSE_NS: Final = 1_000_000_000
"""Hosts with containers mount all the time: the table is read once a second at most."""
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_MOUNT_POINT: Final = 4
_FIELDS: Final = 5
"""Id, parent, device, root, mount point; options come after: they show no other filesystem."""


class Mounts:
    """The mount table of this process, and what of it changed.

    Without /proc nothing ever changes.
    """

    def __init__(self) -> None:
        """Take it as it is now."""
        self._poll = select.poll()
        try:
            self._fd = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1
        else:
            self._poll.register(self._fd, select.POLLPRI)
        self._poll.poll(0)
        self._changed, self._read_ns = False, 0
        self._table = self._read()

    def to_look_at(self, now_ns: int) -> set[bytes]:
        """Return the mount points at which another filesystem may be seen since last time.

        Nothing while the table stays as it is. When it changed: where mounts came or went, and all
        others but the root, since the kernel gives a new mount the numbers of one that just went.
        """
        if self._fd < 0:
            return set()
        self._changed |= bool(self._poll.poll(0))
        if not self._changed or now_ns - self._read_ns < _PAUSE_NS:
            return set()
        self._changed, self._read_ns = False, now_ns
        before, self._table = self._table, self._read()
        return {_point(mount) for mount in before | self._table} - {b"/"}

    def hidden_files(self) -> Iterator[bytes]:
        """Yield the names over which a file is mounted, as of the last look."""
        for point in {_point(mount) for mount in self._table}:
            if os.path.isfile(point):  # noqa: PTH113 - bytes
                yield point

    def hides_file(self, point: bytes) -> bool:
        """Whether a file is mounted over a name: the folder it is in tells nothing of its changes.

        As of the last look.
        """
        return os.path.isfile(point) and any(_point(mount) == point for mount in self._table)  # noqa: PTH113 - bytes

    def _read(self) -> frozenset[tuple[bytes, ...]]:
        """Return the mounts, each by what tells it from another one."""
        if self._fd < 0:
            return frozenset()
        content = bytearray()
        while part := os.pread(self._fd, 1 << 16, len(content)):
            content += part
        mounts = (line.split(b" ") for line in bytes(content).splitlines())
        return frozenset(tuple(mount[:_FIELDS]) for mount in mounts if len(mount) > _FIELDS)

    def close(self) -> None:
        """Read no more. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def unescaped(text: bytes) -> bytes:
    """Return a field of a mount table as it is: spaces and the like are octal numbers there."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), text)


def _point(mount: tuple[bytes, ...]) -> bytes:
    return unescaped(mount[_MOUNT_POINT])


def is_below(path: bytes, point: bytes) -> bool:
    """Whether a path is a mount point, or lies below it."""
    return path == point or path.startswith(point.rstrip(b"/") + b"/")
