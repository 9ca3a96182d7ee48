"""Whether a program is the one that its path names.

A path proves little: a file may be put in its place, another may be mounted over it, or it may lie
there in a mount namespace of its own. Where the host has a package database, a program of a
package is genuine when its content is what the package says, and what runs is that very file.

References: deb-md5sums(5), proc_pid_exe(5)
"""

import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple

from agent.owners import Owners

MOST_BYTES: Final = 64 << 20
"""Of a program: larger ones are taken for what their path says."""
MOST_SUMS_BYTES: Final = 16 << 20
MOST_KNOWN: Final = 512
_INFO: Final = "var/lib/dpkg/info"
_Version = tuple[int, int, int, int, int]


class Running(NamedTuple):
    """A process that runs a program, and the file that the kernel told it runs."""

    pid: int
    device: int = 0
    """As the kernel numbers it (major << 20 | minor); 0: not told."""
    inode: int = 0
    """0: not told, or of an interpreter."""

    def is_another(self, path: bytes, there: os.stat_result) -> bool:
        """Whether it runs another file than is at `path`, as far as the kernel says so."""
        if self.inode:
            device = os.major(there.st_dev) << 20 | os.minor(there.st_dev)
            return self.device == device and self.inode != there.st_ino
        if not self.pid:
            return False
        executable = f"/proc/{self.pid}/exe"
        try:
            if os.readlink(executable) != os.fsdecode(path):  # noqa: PTH115  (a name, not a path)
                return False  # it runs something else by now, or a file that was replaced
            running = os.stat(executable)  # noqa: PTH116
        except OSError:
            return False
        return (running.st_dev, running.st_ino) != (there.st_dev, there.st_ino)


NOT_RUNNING: Final = Running(0)


class Genuine:
    """Answers for the few programs that are trusted: openers of sessions, package managers."""

    def __init__(self, owners: Owners) -> None:
        """Ask `owners` whose a path is."""
        self._owners = owners
        self._known: dict[tuple[bytes, _Version], bool] = {}

    def __call__(self, path: bytes, running: Running = NOT_RUNNING) -> bool:
        """Whether the program at `path`, as a process runs it, is a package's.

        Where no database is known, its place must do.
        """
        owners = self._owners
        if not owners.known:
            return True
        package = owners.owner(path)
        if not package:
            return False
        there = owners.root / os.fsdecode(path).lstrip("/")
        try:
            status = there.stat()
        except OSError:
            return True  # it ran, and was replaced or removed since
        if running.is_another(path, status):
            return False
        version = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        known = self._known.get((path, version))
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[path, version] = self._is_whole(path, package, there, status)
        return known

    def _is_whole(self, path: bytes, package: str, there: Path, status: os.stat_result) -> bool:
        expected = self._sum_of(path, package)
        if not expected or status.st_size > MOST_BYTES:
            return True
        try:
            content = there.read_bytes()
        except OSError:
            return True
        return hashlib.md5(content, usedforsecurity=False).hexdigest().encode() == expected

    def _sum_of(self, path: bytes, package: str) -> bytes:
        """Return what the package says of the file's content; b"" when it does not."""
        info = self._owners.root / _INFO
        spelled = self._owners.spellings(path)
        for file in (info / f"{package}.md5sums", *sorted(info.glob(f"{package}:*.md5sums"))):
            try:
                if file.stat().st_size > MOST_SUMS_BYTES:
                    continue
                for line in file.read_bytes().splitlines():
                    if line[34:] in spelled:
                        return line[:32]
            except OSError:
                continue
        return b""
