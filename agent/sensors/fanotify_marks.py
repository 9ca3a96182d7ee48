"""The marks of fanotify: on folders, on filesystems, and on files themselves.

Three kinds in one group, so that everything comes in one order:

- Every folder that leads to watched names has a mark: for all changes where watched names lie, for
  names that come and go elsewhere. Such marks are not recursive, and a folder made a moment ago has
  none yet.
- Each filesystem with such a folder has a mark for births and renames. They are seen wherever they
  happen, so that a home made with its authorized_keys in one go is seen with who did it, before we
  had time to mark it. Of foreign folders they cost about a microsecond each.
- Files that say who may do what, and files that keep secrets, are marked themselves: see
  inode_marks.py.
"""

import errno
import os
from typing import Final

from agent.sensors import fanotify_api as api
from agent.sensors.folder_paths import FolderPaths
from agent.sensors.inode_marks import InodeMarks
from agent.sensors.unavailable import SensorUnavailable
from agent.sensors.watched_folders import WatchedFolders
from agent.sensors.watchlist import WatchList

NAMES: Final = api.CREATE | api.DELETE | api.RENAME | api.ON_FOLDER
CHANGES: Final = NAMES | api.ATTRIB | api.CLOSE_WRITE | api.ON_CHILD
_BIRTHS: Final = api.CREATE | api.RENAME | api.ON_FOLDER
_NO_MARKS: Final = (errno.EOPNOTSUPP, errno.ENODEV, errno.EXDEV)
_NO_HANDLES: Final = "its filesystem has no handles, by which events name folders"


def _without_rename(mask: int) -> int:
    """What a kernel before 5.17 understands: where from and where to, not told together."""
    return mask & ~api.RENAME | api.MOVED_FROM | api.MOVED_TO


class FanotifyMarks(WatchedFolders):
    """What is marked in a group.

    Args:
        watch_list: See FanotifySensor.

    Raises:
        SensorUnavailable: Not permitted, or a kernel without FID mode.
    """

    def __init__(self, watch_list: WatchList) -> None:
        """Mark what exists."""
        try:
            self._group = api.open_group()
        except OSError as error:
            permitted = error.errno != errno.EPERM
            why = error.strerror if permitted else "not permitted (needs root, or CAP_SYS_ADMIN)"
            raise SensorUnavailable(f"the kernel does not offer fanotify: {why}") from error
        self._paths = FolderPaths(watch_list)
        self._inodes = InodeMarks(self._group, self._paths)
        self._born_blind: set[bytes] = set()
        self._blind_devices: set[int] = set()
        self._over: set[bytes] = set()
        """Names that files are, or were, mounted over."""
        super().__init__(watch_list)
        try:
            self._begin()
        except BaseException:  # whatever it was: no mark stays
            self.close()
            raise

    def _judge_by(self, watch_list: WatchList) -> None:
        super()._judge_by(watch_list)
        self._paths.watch(self._watch_list)

    def _mark(self, folder: bytes, fd: int) -> bool:
        holds = self._watch_list.holds(folder)
        grows = api.MODIFY if holds and self._watch_list.growth_matters(folder) else 0
        try:
            filesystem = api.filesystem_of(fd)
            self._add(api.MARK_ONLY_FOLDERS, (CHANGES if holds else NAMES) | grows, fd)
        except OSError as error:
            return self._unmarked(folder, fd, error)
        if self._paths.know_filesystem(filesystem, folder):
            try:
                self._add(api.MARK_FILESYSTEM, _BIRTHS, fd)
            except OSError:
                self._born_blind.add(filesystem)
        key = api.key_of(fd)
        if key is None:
            self._cannot[folder] = _NO_HANDLES
            return False
        self._paths.know(key, folder)
        return True

    def _unmarked(self, folder: bytes, fd: int, error: OSError) -> bool:
        """Say that a folder cannot be marked; return whether what is in it may be."""
        device = os.fstat(fd).st_dev
        if device not in self._blind_devices:  # else it is said of the first folder there
            self._cannot[folder] = error.strerror or "not watched"
        if error.errno in _NO_MARKS:
            self._blind_devices.add(device)
        return error.errno in _NO_MARKS

    def _add(self, flags: int, mask: int, fd: int) -> None:
        try:
            api.mark(self._group, flags, mask, None, fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            api.mark(self._group, flags, _without_rename(mask), None, fd)

    def _mark_file(self, path: bytes) -> None:
        hidden = self._mounts.hides_file(path) if path in self._over else False
        why = self._inodes.mark(path, self._watch_list, hidden=hidden)
        if why:
            self._cannot[path] = why

    def _hidden(self, point: bytes) -> None:
        """See WatchedFolders: it is marked itself instead."""
        self._over.add(point)
        self._mark_file(point)

    def _mounted_anew(self, point: bytes) -> None:
        self._paths.remounted(point)
        self._blind_devices.clear()

    def _same_as_before(self, point: bytes) -> bool:
        try:
            fd = os.open(point, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            key = api.key_of(fd)
        finally:
            os.close(fd)
        return key is not None and self._paths.knows(key, point)

    def close(self) -> None:
        """See Sensor. Marks live in the group and go with it."""
        if self._group >= 0:
            os.close(self._group)
            self._group = -1
        super().close()
