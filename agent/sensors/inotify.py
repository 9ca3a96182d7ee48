"""Changes of watched files without privileges: pyinotify. Nobody says who made them (pid 0).

The only module that knows pyinotify. It keeps the watches; its events are read here, since its own
reader loses a whole read when one name is not UTF-8.
"""

import logging
import os
import time
import warnings
from struct import Struct
from typing import Final

from agent.sensors.folders import look_into
from agent.sensors.mounts import HIDDEN, Mounts, is_below
from agent.sensors.records import FileRecord, LossRecord, Record
from agent.sensors.survey import Survey, operations_told, status_of
from agent.sensors.unavailable import SensorUnavailable
from agent.sensors.watchlist import WatchList

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports asyncore, which we never use
    import pyinotify

pyinotify.log.setLevel(logging.CRITICAL)  # what cannot be watched is told in `unwatched`

_EVENT = Struct("=iIII")
_READ_BYTES: Final = 1 << 18
_MASK: Final = (
    pyinotify.IN_CREATE
    | pyinotify.IN_DELETE
    | pyinotify.IN_CLOSE_WRITE
    | pyinotify.IN_ATTRIB
    | pyinotify.IN_MOVED_FROM
    | pyinotify.IN_MOVED_TO
    | pyinotify.IN_ONLYDIR
    | pyinotify.IN_DONT_FOLLOW
)
_READ_AFTER: Final = pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO | pyinotify.IN_ATTRIB
_OPERATIONS: Final = (
    (pyinotify.IN_CREATE, "created"),
    (pyinotify.IN_MOVED_TO, "renamed"),
    (pyinotify.IN_ATTRIB, "attributes"),
    (pyinotify.IN_CLOSE_WRITE, "modified"),
    (pyinotify.IN_MOVED_FROM, "deleted"),
    (pyinotify.IN_DELETE, "deleted"),
)


class InotifySensor:
    """Changes of the names of a watch list, as far as this user may read the folders.

    Raises:
        SensorUnavailable: No inotify instance to be had.
    """

    name = "inotify"

    def __init__(self, watch_list: WatchList) -> None:
        """Watch the folders that exist."""
        try:
            self._manager = pyinotify.WatchManager()
        except OSError as error:
            raise SensorUnavailable(f"the kernel does not offer inotify: {error}") from error
        self._fd: int = self._manager.get_fd()
        os.set_blocking(self._fd, False)
        self._watch_list = watch_list
        self._survey = Survey(watch_list)
        self._folders: dict[int, bytes] = {}
        self._moves: dict[int, bytes] = {}
        self.unwatched: dict[bytes, str] = {}
        """What could not be watched, with the reason, for people."""
        self._mounts = Mounts()
        for point in self._mounts.hidden_files():
            if watch_list.entry_for(point) is not None:
                self.unwatched[point] = HIDDEN
        self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._well_wall_ns = time.time_ns()
        self._adopt(b"/")

    def watch(self, watch_list: WatchList) -> None:
        """Watch other names from now on."""
        self._watch_list = watch_list
        self._survey.watch(watch_list)
        self._adopt(b"/")

    def drain(self) -> list[Record]:
        """See Sensor."""
        records: list[Record] = []
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now_wall_ns = time.time_ns()
        overflowed = False
        while buffer := self._read():
            offset = 0
            while offset < len(buffer):
                watch, mask, cookie, size = _EVENT.unpack_from(buffer, offset)
                offset += _EVENT.size
                name = buffer[offset : offset + size].rstrip(b"\0")
                offset += size
                if mask & pyinotify.IN_Q_OVERFLOW:
                    overflowed = True
                elif mask & pyinotify.IN_IGNORED:
                    self._folders.pop(watch, None)
                elif watch in self._folders and name:
                    self._event(records, now_ns, self._folders[watch], mask, cookie, name)
        if overflowed:
            detail = "the kernel's queue of file events was full; watched names were looked through"
            records.append(LossRecord(self.name, now_ns, self._well_ns, None, detail))
            remembered = self._survey.remembered()
            self._adopt(b"/")  # first, so that nothing falls between looking and watching
            records += self._survey.changes_since(remembered, self._well_wall_ns, now_ns)
        for point in sorted(self._mounts.to_look_at(now_ns)):
            self._remounted(point)
        self._survey.refresh(now_ns)
        self._moves.clear()
        self._well_ns, self._well_wall_ns = now_ns, now_wall_ns
        return records

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return b""

    def _event(
        self,
        records: list[Record],
        now_ns: int,
        folder: bytes,
        mask: int,
        cookie: int,
        name: bytes,
    ) -> None:
        path = folder.rstrip(b"/") + b"/" + name
        is_folder = bool(mask & pyinotify.IN_ISDIR)
        previous = self._moves.pop(cookie, b"") if mask & pyinotify.IN_MOVED_TO else b""
        if mask & pyinotify.IN_MOVED_FROM:
            self._moves[cookie] = path
        entry = self._watch_list.entry_for(path)
        if entry is not None:
            seen = [operation for bit, operation in _OPERATIONS if mask & bit]
            status = status_of(path) if mask & _READ_AFTER else None
            for operation in operations_told(seen, path, entry, self._survey):
                record = FileRecord(operation, now_ns, 0, path, previous, is_folder, exact=False)
                records.append(record.seen_as(status))
        appeared = mask & (pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO)
        if is_folder and appeared and self._watch_list.leads_on(path):
            like = FileRecord("created", now_ns, 0, path, b"", directory=True, exact=False)
            self._adopt(path, records, like)

    def _adopt(
        self, top: bytes, records: list[Record] | None = None, like: FileRecord | None = None
    ) -> None:
        """Watch a folder and those below it that lead on; report what is in them as `like`."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if not self._add(folder):
                continue
            found = look_into(folder, self._watch_list)
            waiting += found.folders
            for path, status in found.files.items():
                self._survey.found(path, status)
                if records is not None and like is not None:
                    records.append(like._replace(path=path, directory=path in found.folders))

    def _remounted(self, point: bytes) -> None:
        """Watch what is seen at a mount point now."""
        leads = self._watch_list.leads_on(point)
        if not leads and self._watch_list.entry_for(point) is None:
            return
        for folder in [each for each in self.unwatched if is_below(each, point)]:
            del self.unwatched[folder]
        self._survey.remounted(point)
        if self._mounts.hides_file(point):
            self.unwatched[point] = HIDDEN
        elif leads:
            self._adopt(point)

    def _add(self, folder: bytes) -> bool:
        try:
            name = folder.decode()
        except UnicodeDecodeError:
            self.unwatched[folder] = "its name is not UTF-8"
            return False
        watch: int = self._manager.add_watch(name, _MASK, quiet=True).get(name, -1)
        if watch < 0:
            if os.path.isdir(folder):  # noqa: PTH112 - bytes
                self.unwatched[folder] = "not permitted, or too many watches"
            return False
        self._folders[watch] = folder
        return True

    def close(self) -> None:
        """See Sensor."""
        if self._fd >= 0:
            self._fd = -1
            self._manager.close()
        self._mounts.close()
