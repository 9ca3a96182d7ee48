"""Which watched names exist, so that a sensor which missed something can say what changed.

Names, sizes and inodes of files: nothing that must be kept exact from event to event. What changed
since a moment is told by the change time, which a process cannot set.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from agent.sensors.folder_tree import FolderTree, in_folder, parent_of
from agent.sensors.records import FileRecord, Record
from agent.sensors.watchlist import Entry, WatchList

_REFRESH_NS: Final = 30_000_000_000
_CLOCK_GRAIN_NS: Final = 10_000_000
"""Change times are as coarse as the kernel's tick."""
_MOST_NAMES: Final = 80_000
"""Names that are remembered. Further ones are watched, but not missed after an overflow."""


class Seen(NamedTuple):
    """What is known of a watched name."""

    size: int
    """Of log files as of the last look, of others of no meaning."""
    inode: int
    """Which file it is; 0: not known."""


def seen(status: os.stat_result) -> Seen:
    """What lstat told, as far as it is kept."""
    return Seen(status.st_size, status.st_dev << 64 | status.st_ino)


class Survey:
    """What is known to lie under a watch list."""

    def __init__(self, watch_list: WatchList) -> None:
        """Know nothing yet."""
        self._watch_list = watch_list
        self._names: dict[bytes, dict[bytes, Seen]] = {}
        """By folder."""
        self._folders = FolderTree()
        self._count = 0
        self._refreshed_ns = 0

    def watch(self, watch_list: WatchList) -> None:
        """Judge by another list from now on."""
        self._watch_list = watch_list

    def found(self, path: bytes, status: os.stat_result) -> None:
        """A watched name was seen to exist."""
        self._keep(path, seen(status))

    def named(self, path: bytes, *, exists: bool) -> None:
        """A watched name came or went."""
        if exists:
            self._keep(path, Seen(0, 0))
            return
        folder, _, name = path.rpartition(b"/")
        names = self._names.get(folder, {})
        if names.pop(name, None) is not None:
            self._count -= 1
            if not names:
                del self._names[folder]

    def _keep(self, path: bytes, what: Seen) -> None:
        folder, _, name = path.rpartition(b"/")
        names = self._names.get(folder)
        if names is None:
            if self._count >= _MOST_NAMES:
                return
            names = self._names[folder] = {}
            self._folders.add(folder or b"/")
        if name not in names:
            if self._count >= _MOST_NAMES:
                return
            self._count += 1
        names[name] = what

    def take(self, place: bytes) -> dict[bytes, Seen]:
        """Forget, and return, the names at and below a place."""
        taken: dict[bytes, Seen] = {}
        known = self._names.get(parent_of(place).rstrip(b"/"), {}).get(place.rpartition(b"/")[2])
        if known is not None:
            taken[place] = known
            self.named(place, exists=False)
        for folder in self._folders.take(place):
            names = self._names.pop(folder.rstrip(b"/"), {})
            self._count -= len(names)
            taken |= {in_folder(folder, name): what for name, what in names.items()}
        return taken

    def wrote_less(self, path: bytes) -> bool:
        """A log file was written to. Says whether it is shorter than it was."""
        status = status_of(path)
        folder, _, name = path.rpartition(b"/")
        before = self._names.get(folder, {}).get(name, Seen(0, 0))
        if status is not None:
            self._keep(path, seen(status))
        return (0 if status is None else status.st_size) < before.size

    def refresh(self, now_ns: int) -> None:
        """Look at the sizes of log files now and then: they grow without telling."""
        if now_ns - self._refreshed_ns < _REFRESH_NS:
            return
        self._refreshed_ns = now_ns
        for folder, names in self._names.items():
            if self._watch_list.growth_matters(folder or b"/"):
                continue
            for name, before in names.items():
                status = status_of(folder + b"/" + name)
                if status is not None and status.st_size > before.size:
                    names[name] = seen(status)

    def remembered(self) -> dict[bytes, Seen]:
        """What is known by now: take it before looking at everything."""
        return {
            folder + b"/" + name: what
            for folder, names in self._names.items()
            for name, what in names.items()
        }

    def changes_since(
        self,
        before: Mapping[bytes, Seen],
        existing: Mapping[bytes, os.stat_result],
        wall_ns: int,
        now_ns: int,
    ) -> Iterator[Record]:
        """Yield the net changes since a moment, by nobody knows whom."""
        for path, status in existing.items():
            directory = stat.S_ISDIR(status.st_mode)
            known = before.get(path)
            entry = self._watch_list.entry_for(path)
            grows = entry is not None and entry.structure_only
            operation = ""
            if known is None:
                operation = "created"
            elif status.st_ctime_ns + _CLOCK_GRAIN_NS < wall_ns or directory:
                continue
            elif not grows:
                operation = "modified"
            elif status.st_size < known.size:
                operation = "truncated"
            if operation:
                yield FileRecord(operation, now_ns, 0, path, b"", directory, exact=False)
        for path in before.keys() - existing.keys():
            yield FileRecord("deleted", now_ns, 0, path, b"", directory=False, exact=False)

    def replaced(
        self, before: Mapping[bytes, Seen], existing: Mapping[bytes, os.stat_result], now_ns: int
    ) -> Iterator[FileRecord]:
        """Yield what is seen where other files were seen before: a mount shows or hides them."""
        for path, status in existing.items():
            known, directory = before.get(path), stat.S_ISDIR(status.st_mode)
            if known is None:
                yield FileRecord("created", now_ns, 0, path, b"", directory, exact=False)
            elif known.inode and known.inode != seen(status).inode and not directory:
                yield FileRecord("modified", now_ns, 0, path, b"", directory=False, exact=False)
        for path in before.keys() - existing.keys():
            yield FileRecord("deleted", now_ns, 0, path, b"", directory=False, exact=False)


def operations_told(
    operations: Iterable[str], path: bytes, entry: Entry, survey: Survey
) -> Iterator[str]:
    """Yield the operations on a watched name that are news; the survey learns of them.

    Writing to a log file is news only when it became shorter.
    """
    for operation in operations:
        if operation == "modified" and entry.structure_only:
            if survey.wrote_less(path):
                yield "truncated"
            continue
        if operation not in ("modified", "attributes"):
            survey.named(path, exists=operation != "deleted")
        yield operation


def status_of(path: bytes) -> os.stat_result | None:
    """What lstat tells of a name; None when it is gone, or closed to us."""
    try:
        return os.lstat(path)
    except OSError:
        return None
