"""Changes of watched files, and reads of secrets, each with the process that made it."""

import os
from typing import Final

from agent.sensors import fanotify_api as api
from agent.sensors.fanotify_marks import CHANGES, NAMES, FanotifyMarks
from agent.sensors.fanotify_names import Happened, happened, operations_of
from agent.sensors.folder_tree import in_folder
from agent.sensors.folders import homes_of_this_host
from agent.sensors.inode_marks import Marked
from agent.sensors.records import FileRecord, ReadRecord, Record
from agent.sensors.survey import operations_told, status_of
from agent.sensors.watchlist import Entry, WatchList

_READ_BYTES: Final = 1 << 18
_READS_A_DRAIN: Final = 64
"""More than the kernel's queue holds: writers may be as fast as we are."""
_PASSWD: Final = b"/etc/passwd"
_CONTENT: Final = api.MODIFY | api.CLOSE_WRITE
_READ_AFTER: Final = api.CREATE | api.MOVED_TO | api.ATTRIB
"""Changes of which mode, owner and link count are read afterwards."""


class FanotifySensor(FanotifyMarks):
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
        self._known_again: set[bytes] = set()
        super().__init__(watch_list)

    def _read_events(self, records: list[Record], now_ns: int) -> bool:
        overflowed = False
        self._known_again.clear()
        for _ in range(_READS_A_DRAIN):
            buffer = self._read()
            if not buffer:
                break
            for mask, pid, about in api.events(buffer, self._paths.foreign):
                if mask & api.OVERFLOW:
                    overflowed = True
                else:
                    self._event(records, happened(mask, pid, about, now_ns))
        return overflowed

    def _read(self) -> bytes:
        try:
            return os.read(self._group, _READ_BYTES)
        except BlockingIOError:
            return b""

    def _event(self, records: list[Record], what: Happened) -> None:
        if what.mask & api.RENAME:
            self._renamed(records, what)
            return
        marked = self._inodes.find(what.target) if what.target else None
        path = self._path_of(what)
        if marked is not None:
            self._of_marked(records, what, marked, path)
        if not path:
            if what.target and what.mask & api.ON_FOLDER and what.mask & api.CREATE:
                self._paths.born_in(what.target, what.new[0])
            return
        if what.mask & api.ON_FOLDER:
            self._folder_changed(what, path)
        elif what.mask & NAMES:
            self._name_changed(path, what)
        entry = self._watch_list.entry_for(path)
        if entry is not None and what.mask & (CHANGES | api.MODIFY):
            self._changed(records, what, path, entry)

    def _path_of(self, what: Happened) -> bytes:
        """Return the watched path, or one that leads on, that something happened to; or nothing."""
        folder, name = what.new
        if not folder:
            return b""
        where = self._paths.find(folder)
        if where is None:
            where = self._known_by_another_key(folder)
        if where is None:
            return b""
        if where not in self._bounds and not self._bounds.admit(where):
            self._paths.ignore(folder)
            return b""
        return where if name == b"." else in_folder(where, name)

    def _known_by_another_key(self, key: bytes) -> bytes | None:
        """Look again for the keys of folders where handles do not lead back (overlays).

        A folder there has another key once something in it was changed.
        """
        filesystem = key[:8]
        if filesystem not in self._born_blind or filesystem in self._known_again:
            return None
        self._known_again.add(filesystem)
        for path in self._paths.on(filesystem):
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                again = api.key_of(fd)
            finally:
                os.close(fd)
            if again is not None:
                self._paths.know(again, path)
        return self._paths.find(key)

    def _of_marked(
        self, records: list[Record], what: Happened, marked: Marked, path: bytes
    ) -> None:
        """Tell what happened to a file that is marked itself, if its name does not tell already."""
        used = b"" if path == marked.path else path or self._full(what.new)
        if used and self._watch_list.listed(used) == marked.path:
            path = marked.path  # through a symbolic link that is followed: told by its name anyway
        ours = what.pid == self._own_pid
        if what.mask & api.OPEN and not what.mask & api.CREATE and not ours and marked.secret:
            records.append(ReadRecord(what.now_ns, what.pid, marked.path, marked.secret, used))
        nameless = not what.new[0]
        if nameless and not self._inodes.leads_to(marked.path, what.target):
            self._mark_file(marked.path)  # it was replaced, or is no more: told where it was done
            return
        entry = self._watch_list.entry_for(marked.path)
        mask = what.mask & (_CONTENT | api.ATTRIB)
        if mask and path != marked.path and marked.changes and entry is not None and not ours:
            status = self._status_of(what, marked.path) if mask & api.ATTRIB else None
            for operation in operations_of(mask, exists=True):
                record = FileRecord(operation, what.now_ns, what.pid, marked.path, b"", False)  # noqa: FBT003
                records.append(record.seen_as(status)._replace(used_path=used))

    def _changed(self, records: list[Record], what: Happened, path: bytes, entry: Entry) -> None:
        folder = bool(what.mask & api.ON_FOLDER)
        exists = os.path.lexists(path)
        status = self._status_of(what, path) if what.mask & _READ_AFTER else None
        for operation in operations_told(
            operations_of(what.mask, exists=exists), path, entry, self._survey
        ):
            if operation in ("created", "renamed") and status is not None:
                self._survey.found(path, status)
            if what.pid != self._own_pid:
                record = FileRecord(operation, what.now_ns, what.pid, path, b"", folder)
                records.append(self._as_listed(record.seen_as(status)))
        if path == _PASSWD:
            self._look_for_homes()

    def _status_of(self, what: Happened, path: bytes) -> os.stat_result | None:
        """Return what is known of the file it happened to, whatever its name leads to by now."""
        beside = self._paths.beside(what.target) if what.target else None
        if beside is None or what.target[:8] in self._born_blind:
            return status_of(path)
        with api.opened(what.target, beside) as fd:
            return None if fd is None else os.fstat(fd)

    def _name_changed(self, path: bytes, what: Happened) -> None:
        """Follow what a name leads to now: another file, or a symbolic link."""
        if path in self._links or (what.mask & _READ_AFTER and os.path.islink(path)):  # noqa: PTH114
            like = None
            if what.mask & _READ_AFTER and what.pid != self._own_pid:
                like = FileRecord("created", what.now_ns, what.pid, path, b"", directory=False)
            self._changed_links[path] = like
        self._mark_file(path)

    def _renamed(self, records: list[Record], what: Happened) -> None:
        if self._paths.find(what.old[0]) is None and self._paths.find(what.new[0]) is None:
            return
        path, previous = self._full(what.new), self._full(what.old)
        if self._watched(previous):
            self._survey.named(previous, exists=False)
        status = None
        if self._watched(path):
            status = self._status_of(what, path)
            self._survey.named(path, exists=True)
            if status is not None:
                self._survey.found(path, status)
        ours = what.pid == self._own_pid
        folder = bool(what.mask & api.ON_FOLDER)
        if not ours and (self._watched(path) or self._watched(previous)):
            operation = "renamed" if path else "deleted"
            where = (path, previous) if path else (previous, b"")
            record = FileRecord(operation, what.now_ns, what.pid, *where, folder)
            records.append(self._as_listed(record.seen_as(status)))
        if folder:
            self._folder_moved(records, what, path, previous)
        else:
            for name in filter(None, (previous, path)):
                self._name_changed(name, what._replace(mask=api.MOVED_TO))
        if path == _PASSWD:
            self._look_for_homes()

    def _full(self, name: tuple[bytes, bytes]) -> bytes:
        folder = self._paths.ask(name[0]) if name[0] else None
        return b"" if folder is None else in_folder(folder, name[1])

    def _watched(self, path: bytes) -> bool:
        return bool(path) and self._watch_list.entry_for(path) is not None

    def _folder_moved(
        self, records: list[Record], what: Happened, path: bytes, previous: bytes
    ) -> None:
        """Know a folder by its new path; tell what it brought to watched names, or took away."""
        leads = bool(path) and self._watch_list.leads_on(path)
        took = self._survey.take(previous) if previous else {}
        if previous:
            if not leads and path:
                self._leave(previous, path)
            self._bounds.gone(previous)
            if path:
                self._paths.moved(previous, path)
            else:
                self._paths.gone(previous)
        told = what.pid != self._own_pid
        here = self._watched(path) or self._watched(previous)
        like = FileRecord("created", what.now_ns, what.pid, path, b"", directory=True)
        if told and not here:
            # Names that went with a folder which is not watched itself.
            gone = like._replace(operation="deleted", directory=False)
            names = [gone._replace(path=name) for name in took]
            records += self._several(names, "a folder with further names was moved", previous)
        if leads:
            known_before = bool(previous) and self._watch_list.leads_on(previous)
            self._look_at(path, like if told and not (known_before and here) else None)

    def _leave(self, previous: bytes, path: bytes) -> None:
        """Take the marks of folders that were moved to where nothing is watched."""
        for folder in self._paths.below(previous):
            api.unmark(self._group, CHANGES | api.MODIFY, path + folder[len(previous) :])

    def _folder_changed(self, what: Happened, path: bytes) -> None:
        if what.mask & (api.DELETE | api.MOVED_FROM) and not os.path.isdir(path):  # noqa: PTH112
            self._paths.gone(path)
            self._bounds.gone(path)
            self._survey.take(path)
        elif what.mask & (api.CREATE | api.MOVED_TO) and self._watch_list.leads_on(path):
            # A link may have been there.
            if path in self._links:
                self._changed_links[path] = None
            if what.target and self._bounds.admit(path):
                self._paths.know(what.target, path)
            like = FileRecord("created", what.now_ns, what.pid, path, b"", True, exact=False)  # noqa: FBT003
            # Where births are seen, what is in it comes as events of its own, each with its pid.
            seen = what.mask & api.CREATE and what.new[0][:8] not in self._born_blind
            told = not seen and what.pid != self._own_pid
            self._look_at(path, like if told else None)

    def _look_for_homes(self) -> None:
        wider = self._watch_list.with_homes(homes_of_this_host())
        if wider is not self._watch_list:
            further = [home for home in wider.homes if home not in self._watch_list.homes]
            self._judge_by(wider)
            for home in further:
                self._look_along(home)
