"""Changes of watched files without privileges: pyinotify. Nobody says who made them (pid 0).

The only module that knows pyinotify. It keeps the watches; its events are read here, since its own
reader loses a whole read when one name is not UTF-8.
"""

import logging
import os
import warnings
from struct import Struct
from typing import Final

from agent.sensors.records import FileRecord, Record
from agent.sensors.survey import operations_told, status_of
from agent.sensors.unavailable import SensorUnavailable
from agent.sensors.watched_folders import WatchedFolders
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


class InotifySensor(WatchedFolders):
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
        self._folders: dict[int, bytes] = {}
        self._moves: dict[int, bytes] = {}
        super().__init__(watch_list)
        self._begin()

    def _read_events(self, records: list[Record], now_ns: int) -> bool:
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
        self._moves.clear()
        return overflowed

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
                if status is not None and operation in ("created", "renamed"):
                    self._survey.found(path, status)
                record = FileRecord(operation, now_ns, 0, path, previous, is_folder, exact=False)
                records.append(self._as_listed(record.seen_as(status)))
        appeared = mask & (pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO)
        if not is_folder and (path in self._links or (appeared and os.path.islink(path))):  # noqa: PTH114
            like = FileRecord("created", now_ns, 0, path, b"", directory=False, exact=False)
            self._changed_links[path] = like if appeared else None
        if is_folder and not appeared and not os.path.isdir(path):  # noqa: PTH112 - bytes
            self._bounds.gone(path)
        if is_folder and appeared and self._watch_list.leads_on(path):
            like = FileRecord("created", now_ns, 0, path, b"", directory=True, exact=False)
            self._look_at(path, like)

    def _mark(self, folder: bytes, fd: int) -> bool:  # noqa: ARG002 - it wants a path
        try:
            name = folder.decode()
        except UnicodeDecodeError:
            self._cannot[folder] = "its name is not UTF-8"
            return False
        watch: int = self._manager.add_watch(name, _MASK, quiet=True).get(name, -1)
        if watch < 0:
            if os.path.isdir(folder):  # noqa: PTH112 - bytes
                self._cannot[folder] = "not permitted, or too many watches"
            return False
        self._folders[watch] = folder
        return True

    def close(self) -> None:
        """See Sensor."""
        if self._fd >= 0:
            self._fd = -1
            self._manager.close()
        super().close()
