"""Which watched names exist, so that a sensor which missed something can say what changed.

Names, and sizes of files: nothing that must be kept exact from event to event. What changed since a
moment is told by the change time, which a process cannot set.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Final

from agent.sensors.folders import is_folder, look_into
from agent.sensors.mounts import is_below
from agent.sensors.records import FileRecord, Record
from agent.sensors.watchlist import Entry, WatchList

_REFRESH_NS: Final = 30_000_000_000
_CLOCK_GRAIN_NS: Final = 10_000_000
"""Change times are as coarse as the kernel's tick."""


class Survey:
    """What is known to lie under a watch list."""

    def __init__(self, watch_list: WatchList) -> None:
        """Know nothing yet."""
        self._watch_list = watch_list
        self._sizes: dict[bytes, int] = {}
        """Of every watched name; of log files as of the last look, of others of no meaning."""
        self._refreshed_ns = 0

    def watch(self, watch_list: WatchList) -> None:
        """Judge by another list from now on."""
        self._watch_list = watch_list

    def found(self, path: bytes, status: os.stat_result) -> None:
        """A watched name was seen to exist."""
        self._sizes[path] = status.st_size

    def named(self, path: bytes, *, exists: bool) -> None:
        """A watched name came or went."""
        if exists:
            self._sizes[path] = 0
        else:
            self._sizes.pop(path, None)

    def remounted(self, point: bytes) -> None:
        """Other files are seen at and below a mount point; nobody changed those that were there."""
        for path in [path for path in self._sizes if is_below(path, point)]:
            del self._sizes[path]

    def wrote_less(self, path: bytes) -> bool:
        """A log file was written to. Says whether it is shorter than it was."""
        before = self._sizes.get(path, 0)
        self._sizes[path] = size = _size(path)
        return size < before

    def refresh(self, now_ns: int) -> None:
        """Look at the sizes of log files now and then: they grow without telling."""
        if now_ns - self._refreshed_ns < _REFRESH_NS:
            return
        self._refreshed_ns = now_ns
        for path in self._sizes:
            entry = self._watch_list.entry_for(path)
            if entry is not None and entry.structure_only:
                self._sizes[path] = max(self._sizes[path], _size(path))

    def remembered(self) -> dict[bytes, int]:
        """What is known by now: take it before looking at everything."""
        return dict(self._sizes)

    def changes_since(
        self, remembered: dict[bytes, int], wall_ns: int, now_ns: int
    ) -> list[Record]:
        """Look at everything: net changes since a moment, by nobody knows whom."""
        existing: dict[bytes, os.stat_result] = {}
        waiting = [b"/"]
        while waiting:
            found = look_into(waiting.pop(), self._watch_list)
            waiting += found.folders
            existing |= found.files
        records: list[Record] = []

        def report(operation: str, path: bytes, *, directory: bool) -> None:
            records.append(FileRecord(operation, now_ns, 0, path, b"", directory, exact=False))

        for path, status in existing.items():
            before = remembered.get(path)
            entry = self._watch_list.entry_for(path)
            grows = entry is not None and entry.structure_only
            if before is None:
                report("created", path, directory=is_folder(status))
            elif status.st_ctime_ns + _CLOCK_GRAIN_NS < wall_ns or is_folder(status):
                continue
            elif not grows:
                report("modified", path, directory=False)
            elif status.st_size < before:
                report("truncated", path, directory=False)
        for path in remembered.keys() - existing.keys():
            report("deleted", path, directory=False)
        self._sizes = {path: status.st_size for path, status in existing.items()}
        return records


def operations_told(
    seen: Iterable[str], path: bytes, entry: Entry, survey: Survey
) -> Iterator[str]:
    """Yield the operations on a watched name that are news; the survey learns of them.

    Writing to a log file is news only when it became shorter.
    """
    for operation in seen:
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


def _size(path: bytes) -> int:
    status = status_of(path)
    return 0 if status is None else status.st_size
