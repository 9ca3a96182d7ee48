"""Changes of watched files, each with the process that made it.

Two kinds of marks in one group, so that everything comes in one order:

- Every folder that leads to watched names has a mark for all changes. Such marks are not recursive,
  and a folder made a moment ago has none yet.
- Each filesystem with such a folder has a mark for births and renames. They are seen wherever they
  happen, so that a home made with its authorized_keys in one go is seen with who did it, before we
  had time to mark it. Of foreign folders they cost about a microsecond each.
"""

import errno
import os
from typing import Final

from agent.sensors import fanotify_api as api
from agent.sensors.folder_paths import FolderPaths
from agent.sensors.folders import homes_of_this_host
from agent.sensors.records import FileRecord, Record
from agent.sensors.survey import operations_told, status_of
from agent.sensors.unavailable import SensorUnavailable
from agent.sensors.watched_folders import WatchedFolders
from agent.sensors.watchlist import Entry, WatchList

_READ_BYTES: Final = 1 << 18
_READS_A_DRAIN: Final = 64
"""More than the kernel's queue holds: writers may be as fast as we are."""
_PASSWD: Final = b"/etc/passwd"
_NAMES: Final = api.CREATE | api.DELETE | api.RENAME | api.ON_FOLDER
_CHANGES: Final = _NAMES | api.ATTRIB | api.CLOSE_WRITE | api.ON_CHILD
_BIRTHS: Final = api.CREATE | api.RENAME | api.ON_FOLDER
_CONTENT: Final = api.MODIFY | api.CLOSE_WRITE
_READ_AFTER: Final = api.CREATE | api.MOVED_TO | api.ATTRIB
"""Changes of which mode, owner and link count are read afterwards."""


_Name = tuple[bytes, bytes]
"""Key of the folder, and the name in it."""
_NOTHING: Final[_Name] = (b"", b"")


def _without_rename(mask: int) -> int:
    """What a kernel before 5.17 understands: where from and where to, not told together."""
    return mask & ~api.RENAME | api.MOVED_FROM | api.MOVED_TO


class FanotifySensor(WatchedFolders):
    """Changes of the names of a watch list.

    Args:
        watch_list: Names, as they are on this host (see folders.of_this_host).
        own_pid: Process whose own changes are not reported: the agent's.

    Raises:
        SensorUnavailable: Not permitted, or a kernel without FID mode.
    """

    name = "fanotify"

    def __init__(self, watch_list: WatchList, *, own_pid: int | None = None) -> None:
        """Mark what exists."""
        self._own_pid = os.getpid() if own_pid is None else own_pid
        try:
            self._group = api.open_group()
        except OSError as error:
            permitted = error.errno != errno.EPERM
            why = error.strerror if permitted else "not permitted (needs root, or CAP_SYS_ADMIN)"
            raise SensorUnavailable(f"the kernel does not offer fanotify: {why}") from error
        self._paths = FolderPaths(watch_list)
        self._born_blind: set[bytes] = set()
        super().__init__(watch_list)
        try:
            self._adopt(b"/")
        except BaseException:  # whatever it was: no mark stays
            self.close()
            raise

    def watch(self, watch_list: WatchList) -> None:
        """See WatchedFolders."""
        self._paths.watch(watch_list)
        super().watch(watch_list)

    def _read_events(self, records: list[Record], now_ns: int) -> bool:
        overflowed = False
        for _ in range(_READS_A_DRAIN):
            buffer = self._read()
            if not buffer:
                break
            for mask, pid, about in api.events(buffer, self._paths.foreign):
                if mask & api.OVERFLOW:
                    overflowed = True
                else:
                    self._event(records, now_ns, mask, pid, about)
        return overflowed

    def _read(self) -> bytes:
        try:
            return os.read(self._group, _READ_BYTES)
        except BlockingIOError:
            return b""

    def _event(
        self, records: list[Record], now_ns: int, mask: int, pid: int, about: list[api.Info]
    ) -> None:
        old, new, target = _NOTHING, _NOTHING, b""
        for kind, key, name in about:
            if kind == api.INFO_TARGET:
                target = key
            elif kind == api.INFO_OLD_NAME:
                old = (key, name)
            else:
                new = (key, name)
        if mask & api.RENAME:
            self._renamed(records, now_ns, mask, pid, old, new)
            return
        where = self._paths.find(new[0])
        if where is None:
            if target and mask & api.ON_FOLDER and mask & api.CREATE:
                self._paths.born_in(target, new[0])
            return
        path = where.rstrip(b"/") + b"/" + new[1]
        if mask & api.ON_FOLDER:
            self._folder_changed(records, now_ns, mask, pid, path, target)
        entry = self._watch_list.entry_for(path)
        if entry is not None:
            self._changed(records, now_ns, mask, pid, path, entry)

    def _changed(
        self, records: list[Record], now_ns: int, mask: int, pid: int, path: bytes, entry: Entry
    ) -> None:
        folder = bool(mask & api.ON_FOLDER)
        status = status_of(path) if mask & _READ_AFTER else None
        for operation in operations_told(_operations(mask, path), path, entry, self._survey):
            if operation in ("created", "renamed") and status is not None:
                self._survey.found(path, status)
            if pid != self._own_pid:
                record = FileRecord(operation, now_ns, pid, path, b"", folder)
                records.append(record.seen_as(status))
        if path == _PASSWD:
            self._look_for_homes()

    def _renamed(
        self, records: list[Record], now_ns: int, mask: int, pid: int, old: _Name, new: _Name
    ) -> None:
        if self._paths.find(old[0]) is None and self._paths.find(new[0]) is None:
            return
        path, previous = self._full(new), self._full(old)
        if self._watched(previous):
            self._survey.named(previous, exists=False)
        status = None
        if self._watched(path):
            status = status_of(path)
            self._survey.named(path, exists=True)
            if status is not None:
                self._survey.found(path, status)
        ours = pid == self._own_pid
        folder = bool(mask & api.ON_FOLDER)
        if not ours and (self._watched(path) or self._watched(previous)):
            operation = "renamed" if path else "deleted"
            where = (path, previous) if path else (previous, b"")
            record = FileRecord(operation, now_ns, pid, *where, folder)
            records.append(record.seen_as(status))
        if folder:
            came_along = self._folder_moved(now_ns, pid, path, previous)
            records += () if ours else came_along
        if path == _PASSWD:
            self._look_for_homes()

    def _full(self, name: _Name) -> bytes:
        folder = self._paths.ask(name[0])
        return b"" if folder is None else folder.rstrip(b"/") + b"/" + name[1]

    def _watched(self, path: bytes) -> bool:
        return bool(path) and self._watch_list.entry_for(path) is not None

    def _folder_moved(self, now_ns: int, pid: int, path: bytes, previous: bytes) -> list[Record]:
        """Know a folder by its new path; what it brought along to watched names."""
        if previous and path:
            self._paths.moved(previous, path)
        elif previous:
            self._paths.gone(previous)
        inside: list[Record] = []
        if path and self._watch_list.leads_on(path):
            self._adopt(path, inside, FileRecord("created", now_ns, pid, path, b"", directory=True))
        known_before = previous and self._watch_list.leads_on(previous)
        return [] if known_before else inside

    def _folder_changed(
        self, records: list[Record], now_ns: int, mask: int, pid: int, path: bytes, target: bytes
    ) -> None:
        if mask & (api.DELETE | api.MOVED_FROM) and not os.path.lexists(path):
            self._paths.gone(path)
        elif mask & (api.CREATE | api.MOVED_TO) and self._watch_list.leads_on(path):
            if target:
                self._paths.know(target, path)
            unseen: list[Record] = []
            like = FileRecord("created", now_ns, pid, path, b"", directory=True, exact=False)
            self._adopt(path, unseen, like)
            # Where births are seen, what is in it comes as events of its own, each with its pid.
            seen = mask & api.CREATE and self._filesystem(path) not in self._born_blind
            if not seen and pid != self._own_pid:
                records += unseen

    def _filesystem(self, path: bytes) -> bytes:
        try:
            return api.filesystem_of(path)
        except OSError:
            return b""

    def _mark(self, folder: bytes) -> bool:
        mask = _CHANGES | (api.MODIFY if self._watch_list.growth_matters(folder) else 0)
        flags = api.MARK_ONLY_FOLDERS | api.MARK_DONT_FOLLOW
        try:
            filesystem = api.filesystem_of(folder)
            self._add(flags, mask, folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self.unwatched[folder] = error.strerror or "not watched"
            return False
        if self._paths.know_filesystem(filesystem, folder):
            try:
                self._add(api.MARK_FILESYSTEM, _BIRTHS, folder)
            except OSError:
                self._born_blind.add(filesystem)
        key = api.key_of(folder)
        if key is None:
            self.unwatched[folder] = "its filesystem has no handles, by which events name folders"
            return False
        self._paths.know(key, folder)
        return True

    def _add(self, flags: int, mask: int, folder: bytes) -> None:
        try:
            api.mark(self._group, flags, mask, folder)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            api.mark(self._group, flags, _without_rename(mask), folder)

    def _mounted_anew(self, point: bytes) -> None:
        self._paths.remounted(point)

    def _look_for_homes(self) -> None:
        wider = self._watch_list.with_homes(homes_of_this_host())
        if wider is not self._watch_list:
            self.watch(wider)

    def close(self) -> None:
        """See Sensor. Marks live in the group and go with it."""
        if self._group >= 0:
            os.close(self._group)
            self._group = -1
        super().close()


def _operations(mask: int, path: bytes) -> list[str]:
    """What happened, in the likeliest order: the kernel merges events that wait together."""
    made = ["created"] if mask & api.CREATE else []
    if mask & api.MOVED_TO:
        made.append("renamed")
    if mask & api.ATTRIB:
        made.append("attributes")
    if mask & _CONTENT:
        made.append("modified")
    if not mask & (api.DELETE | api.MOVED_FROM):
        return made
    return ["deleted", *made] if made and os.path.lexists(path) else [*made, "deleted"]
