"""The files of a spool: where they lie, and how they are written so that they last."""

import os
from contextlib import suppress
from pathlib import Path

from chassis.files import settle


def segment_path(folder: Path, name: int) -> Path:
    """Return where the segment lies whose first batch is `name`."""
    return folder / f"{name:015d}.seg"


def segment_paths(folder: Path) -> list[Path]:
    """Return the segments in `folder`, in order of their batches."""
    paths = [
        path
        for path in folder.glob("*.seg")
        if path.stem.isascii() and path.stem.isdigit() and path.is_file()
    ]
    return sorted(paths, key=lambda path: int(path.stem))


class Tail:
    """The newest segment's file, which is written at its end."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it.

        Raises:
            OSError: it cannot be written.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def is_open(self) -> bool:
        """Whether it can be written to."""
        return self._file >= 0

    def write(self, content: bytes) -> int:
        """Write durably; return where it begins.

        Raises:
            OSError: the disk is full or gone. What was written of it is taken back where that
                can be done.
        """
        # Not what we remember: what a failed write left behind may not have gone away.
        offset = os.lseek(self._file, 0, os.SEEK_END)
        try:
            _write_all(self._file, content)
            os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, offset)
            raise
        return offset

    def close(self) -> None:
        """Close; safe to repeat."""
        if self.is_open:
            os.close(self._file)
            self._file = -1


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a small file in one step, so that it outlives a loss of power.

    Always by the same other file: an agent killed again and again leaves one behind, not many.

    Raises:
        OSError: the disk is full or gone.
    """
    fresh = path.with_name(f".{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
    settle(path.parent)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
