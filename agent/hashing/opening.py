"""Opens the very file that was met, without being held up or led elsewhere by whoever owns it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from agent.hashing.filesystems import Filesystems
from agent.hashing.jobs import Job, Outcome, Signature, signature_of

GONE, UNREADABLE, SIZE, CHANGING = "gone", "unreadable", "size", "changing"
_LOOK: Final = os.O_PATH | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DELETED: Final = b" (deleted)"


class NotAFileError(Exception):
    """It is a folder, a pipe, a device, a link: there is no content to hash."""


class Opener:
    """Looks at files by O_PATH, which neither reads nor waits, before it opens one to read."""

    def __init__(self) -> None:
        """Know no filesystem yet."""
        self._filesystems = Filesystems()

    def glance(self, job: Job) -> Signature | None:
        """Return the signature of what lies at the path of `job` now, if it may be that file.

        What is known under it needs no further look: most of what runs ran before.
        """
        # Without its inode only the process says which file it runs; the path may be another's now.
        unsure = not job.inode and job.pid > 0 and not job.script
        if unsure or job.elsewhere or not self._filesystems.may_be_looked_up(job.path):
            return None
        try:
            status = os.lstat(job.path)
        except OSError:
            return None
        if job.inode and status.st_ino != job.inode:
            return None
        return signature_of(status)

    def look(self, job: Job) -> "tuple[int, Signature] | Outcome":
        """Return (descriptor, signature) of the file of `job`, which the caller closes.

        An Outcome says why there is none.

        Raises:
            NotAFileError: there is no content.
        """
        why = GONE
        for path, flags, magic in _ways(job):
            if not magic and not job.elsewhere and not self._filesystems.may_be_looked_up(path):
                why = UNREADABLE
                continue
            try:
                found = os.open(path, _LOOK | flags)
            except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
                continue
            except OSError:
                why = UNREADABLE
                continue
            try:
                signature = self._seen(job, found, magic=magic)
            except BaseException:  # whatever it was: no file stays open
                os.close(found)
                raise
            if isinstance(signature, str):
                os.close(found)
                why = signature
                continue
            return found, signature
        return Outcome(job, refusal=UNREADABLE if job.elsewhere else why)

    def _seen(self, job: Job, file: int, *, magic: bool) -> Signature | str:
        try:
            if not self._filesystems.is_local(file, job.pid):
                return UNREADABLE
            if magic and not job.inode and not _runs(file, job.path):
                return GONE
            status = os.fstat(file)
        except OSError:
            return UNREADABLE
        if not stat.S_ISREG(status.st_mode):
            raise NotAFileError
        if job.inode and status.st_ino != job.inode:
            return GONE
        return signature_of(status)


def to_read(file: int) -> int:
    """Open for reading what a descriptor of O_PATH names; the very same file.

    Raises:
        OSError: not permitted.
    """
    path = f"/proc/self/fd/{file}"
    with suppress(PermissionError):  # of a foreign file the time of reading cannot be kept
        return os.open(path, _READ | os.O_NOATIME)
    return os.open(path, _READ)


def _ways(job: Job) -> Iterator[tuple[bytes, int, bool]]:
    """Yield (path, flags, whether it is a link of /proc) by which the file may be reached."""
    if job.pid > 0 and not job.script:
        # What runs cannot be exchanged under this name, in whatever namespace.
        yield b"/proc/%d/exe" % job.pid, 0, True
    if not job.elsewhere:
        yield job.path, os.O_NOFOLLOW, False
    elif job.pid > 0 and job.inode:
        # Links in there may lead back here: only the inode says that it is the right one.
        yield b"/proc/%d/root%b" % (job.pid, job.path), os.O_NOFOLLOW, False


def _runs(file: int, path: bytes) -> bool:
    """Whether an open program is the one of `path`, which may be deleted by now."""
    name = os.readlink(b"/proc/self/fd/%d" % file)  # noqa: PTH115 - bytes
    return name.removesuffix(_DELETED) == path.removesuffix(_DELETED)
