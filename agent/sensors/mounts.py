"""Filesystems that are mounted while we watch: marks and watches belong to what lay there before.

Reads /proc/self/mountinfo (proc_pid_mountinfo(5)); polling it tells when it changed.
"""

import os
import re
import select
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

_FILE: Final = "/proc/self/mountinfo"
HIDDEN: Final = "another file is mounted over it"
_SHARE: Final = 20
"""Hosts with containers mount all the time: reading takes one part in so many of the time."""
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of the mount table, by what tells it from another one."""

    number: bytes
    parent: bytes
    device: bytes
    root: bytes
    """What of its filesystem is seen."""
    point: bytes
    file_system: bytes
    source: bytes


class Changes(NamedTuple):
    """What of the mount table changed between two looks."""

    came: list[Mount]
    went: list[Mount]
    stayed: list[bytes]
    """Where other mounts are: the kernel gives a new mount the numbers of one that just went."""


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
        self._changed, self._not_before_ns = False, 0
        self._table = self._read()

    def look(self) -> Changes | None:
        """Return what came and went since the last look; None when the table stayed as it is."""
        if self._fd < 0:
            return None
        self._changed |= bool(self._poll.poll(0))
        now_ns = time.monotonic_ns()
        if not self._changed or now_ns < self._not_before_ns:
            return None
        self._changed = False
        before, self._table = self._table, self._read()
        done_ns = time.monotonic_ns()
        self._not_before_ns = done_ns + _SHARE * (done_ns - now_ns)
        came = [mount for mount in self._table if mount not in before]
        went = [mount for mount in before if mount not in self._table]
        new = {mount.point for mount in (*came, *went)}
        stayed = dict.fromkeys(m.point for m in self._table if m.point not in new)
        return Changes(came, went, [point for point in stayed if point != b"/"])

    def hidden_files(self) -> Iterator[bytes]:
        """Yield the names over which a file is mounted, as of the last look."""
        for point in {mount.point for mount in self._table}:
            if os.path.isfile(point):  # noqa: PTH113 - bytes
                yield point

    def hides_file(self, point: bytes) -> bool:
        """Whether a file is mounted over a name: the folder it is in tells nothing of its changes.

        As of the last look.
        """
        return os.path.isfile(point) and any(mount.point == point for mount in self._table)  # noqa: PTH113 - bytes

    def _read(self) -> dict[Mount, None]:
        """Return the mounts, in their order."""
        if self._fd < 0:
            return {}
        content = bytearray()
        while part := os.pread(self._fd, 1 << 16, len(content)):
            content += part
        return dict.fromkeys(filter(None, map(_mount, bytes(content).splitlines())))

    def close(self) -> None:
        """Read no more. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _mount(line: bytes) -> Mount | None:
    place, _, rest = line.partition(b" - ")
    fields, of = place.split(b" "), rest.split(b" ")
    if len(fields) < 5 or len(of) < 2:  # noqa: PLR2004 - proc_pid_mountinfo(5)
        return None
    number, parent, device, root, point = fields[:5]
    return Mount(number, parent, device, unescaped(root), unescaped(point), of[0], unescaped(of[1]))


def unescaped(field: bytes) -> bytes:
    """Return a field of a mount table as it is: spaces and the like are octal numbers there."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field)


def is_below(path: bytes, point: bytes) -> bool:
    """Whether a path is a mount point, or lies below it."""
    return path == point or path.startswith(point.rstrip(b"/") + b"/")
