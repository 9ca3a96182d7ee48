"""Files that are marked themselves: whatever name they are changed or opened under, it is told.

A file has other names through hard links, and other places through bind mounts; events name the
file by its handle, and the folder and name that were used.
"""

import os
import stat
from typing import Final, NamedTuple

from agent.sensors import fanotify_api as api
from agent.sensors.folder_paths import FolderPaths
from agent.sensors.watchlist import WatchList

_CHANGES: Final = api.MODIFY | api.CLOSE_WRITE
_ALWAYS: Final = api.ATTRIB | api.DELETE_SELF
"""It lost a name, or its last one: the watched name may lead to another file."""
_MOST: Final = 20_000
TOO_MANY: Final = f"more than {_MOST} files are not marked themselves"
_OPEN_FLAGS: Final = os.O_PATH | os.O_CLOEXEC


class Marked(NamedTuple):
    """A file that is marked."""

    path: bytes
    """The watched name that it is known under."""
    secret: str
    """What kind of secret it keeps; "" when its reads are of no interest."""
    changes: bool
    """Whether its changes are told."""


class InodeMarks:
    """The files of a fanotify group that are marked themselves."""

    def __init__(self, group: int, paths: FolderPaths) -> None:
        """Mark none yet."""
        self._group, self._paths = group, paths
        self._marked: dict[bytes, Marked] = {}
        self._keys: dict[bytes, bytes] = {}

    def find(self, key: bytes) -> Marked | None:
        """The file that a key names; None when it is not marked, or no more."""
        return self._marked.get(key)

    def mark(self, path: bytes, watch_list: WatchList, *, hidden: bool = False) -> str:
        """Mark what a name leads to now, if it is to be; take the mark of what it led to before.

        Args:
            path: A name; symbolic links are followed.
            watch_list: Says what of it matters.
            hidden: Whether it is watched by nothing else, since a file is mounted over it.

        Returns:
            Why it could not be marked; "" when it was, or need not be.
        """
        entry = watch_list.entry_for(path)
        secret = watch_list.secret_for(path) or ""
        changes = entry is not None and (entry.inodes or hidden)
        if (not changes and not secret) or _is_known_as_another(path, watch_list):
            self.forget(path)
            return ""
        try:
            fd = os.open(path, _OPEN_FLAGS)
        except OSError:
            self.forget(path)
            return ""
        try:
            return self._mark(fd, Marked(path, secret, changes))
        except OSError as error:
            self.forget(path)
            return f"it cannot be marked itself: {error.strerror}"
        finally:
            os.close(fd)

    def _mark(self, fd: int, what: Marked) -> str:
        key = api.key_of(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        if key is not None and self._keys.get(what.path) == key and self._marked[key] == what:
            return ""
        self.forget(what.path)
        if key is None:
            return ""
        if len(self._marked) >= _MOST:
            return TOO_MANY
        mask = _ALWAYS | (_CHANGES if what.changes else 0) | (api.OPEN if what.secret else 0)
        api.mark(self._group, 0, mask, b"/proc/self/fd/%d" % fd)
        self._marked[key] = what
        self._keys[what.path] = key
        return ""

    def forget(self, path: bytes) -> None:
        """A name leads elsewhere: the file that it led to is marked no more."""
        key = self._keys.pop(path, None)
        if key is None or key not in self._marked or self._marked[key].path != path:
            return
        del self._marked[key]
        beside = self._paths.beside(key)
        if beside is None:
            return
        with api.opened(key, beside) as fd:
            if fd is not None:
                mask = _ALWAYS | _CHANGES | api.OPEN
                api.unmark(self._group, mask, b"/proc/self/fd/%d" % fd)

    def leads_to(self, path: bytes, key: bytes) -> bool:
        """Whether a name leads to the file of a key now."""
        try:
            fd = os.open(path, _OPEN_FLAGS)
        except OSError:
            return False
        try:
            return api.key_of(fd) == key
        finally:
            os.close(fd)


def _is_known_as_another(path: bytes, watch_list: WatchList) -> bool:
    """Whether a name is a symbolic link to one that is marked by itself."""
    if not os.path.islink(path):  # noqa: PTH114 - bytes
        return False
    end = os.path.realpath(path)
    entry = watch_list.entry_for(end)
    if entry is not None and watch_list.listed(end) == end:
        return entry.inodes
    return watch_list.secret_for(end) is not None
