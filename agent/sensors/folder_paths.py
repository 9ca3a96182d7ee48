"""Where folders are: events of fanotify name them by a handle.

Paths are kept for folders that lead to watched names. Of the others, which are many, only that
they do not. A folder that is neither is looked up in the kernel; one that moved is found at its new
place.
"""

from typing import Final

from agent.sensors import fanotify_api as api
from agent.sensors.folder_tree import FolderTree
from agent.sensors.mounts import is_below
from agent.sensors.watchlist import WatchList

_FOREIGN_LIMIT: Final = 50_000


class FolderPaths:
    """Paths of folders by key (filesystem id and handle)."""

    def __init__(self, watch_list: WatchList) -> None:
        """Know nothing yet."""
        self._watch_list = watch_list
        self._paths: dict[bytes, bytes] = {}
        self._keys: dict[bytes, set[bytes]] = {}
        self._tree = FolderTree()
        self.foreign: set[bytes] = set()
        """Keys of folders that lead to nothing watched."""
        self._filesystems: dict[bytes, bytes] = {}
        """By filesystem id: a path on it."""

    def watch(self, watch_list: WatchList) -> None:
        """Judge by another list from now on."""
        self._watch_list = watch_list
        self.foreign.clear()

    def know_filesystem(self, filesystem: bytes, path: bytes) -> bool:
        """Remember a path on a filesystem; False when one is known already."""
        return self._filesystems.setdefault(filesystem, path) is path

    def beside(self, key: bytes) -> bytes | None:
        """A path on the filesystem that a key belongs to; None when it is not watched."""
        return self._filesystems.get(key[:8])

    def know(self, key: bytes, path: bytes) -> None:
        """Remember where a folder is."""
        self._drop(key)
        if self._watch_list.leads_on(path):
            self._paths[key] = path
            self._keys.setdefault(path, set()).add(key)
            self._tree.add(path)
            self.foreign.discard(key)
        else:
            self._know_foreign(key)

    def knows(self, key: bytes, path: bytes) -> bool:
        """Whether a folder is known to be there."""
        return self._paths.get(key) == path

    def ignore(self, key: bytes) -> None:
        """A folder leads to watched names, but goes beyond what is watched."""
        self._drop(key)
        self._know_foreign(key)

    def below(self, path: bytes) -> list[bytes]:
        """The folders that are known at and below a path."""
        return list(self._tree.below(path))

    def born_in(self, key: bytes, parent: bytes) -> None:
        """A folder was made: in a foreign one it is foreign too, without asking the kernel."""
        if parent in self.foreign:
            self._know_foreign(key)

    def find(self, key: bytes) -> bytes | None:
        """The path of a folder that leads to watched names; None when it does not or is gone."""
        if key in self.foreign:
            return None
        path = self._paths.get(key)
        if path is None:
            path = self.ask(key)
            if path is None or not self._watch_list.leads_on(path):
                self._know_foreign(key)
                return None
            self.know(key, path)
        return path

    def ask(self, key: bytes) -> bytes | None:
        """The path of any folder, foreign ones too, from the kernel where it is not known."""
        known = self._paths.get(key)
        if known is not None:
            return known
        beside = self._filesystems.get(key[:8])
        return None if beside is None else api.path_of(key, beside)

    def on(self, filesystem: bytes) -> list[bytes]:
        """The folders that are known on a filesystem."""
        return [path for key, path in self._paths.items() if key.startswith(filesystem)]

    def moved(self, old: bytes, new: bytes) -> None:
        """A folder has another path: so has all below it."""
        for path in self._tree.take(old):
            for key in self._keys.pop(path, ()):
                self.know(key, new + path[len(old) :])

    def gone(self, path: bytes) -> None:
        """A folder is no more; whatever gets its name is another one."""
        for known in self._tree.take(path):
            for key in self._keys.pop(known, ()):
                self._paths.pop(key, None)

    def remounted(self, point: bytes) -> None:
        """Another filesystem is seen at a mount point: what was known there lies elsewhere now."""
        self.gone(point)
        for filesystem, path in tuple(self._filesystems.items()):
            if is_below(path, point):
                del self._filesystems[filesystem]
                other = next((p for k, p in self._paths.items() if k[:8] == filesystem), None)
                if other is not None:
                    self._filesystems[filesystem] = other

    def _drop(self, key: bytes) -> None:
        before = self._paths.pop(key, None)
        if before is not None and (keys := self._keys.get(before)) is not None:
            keys.discard(key)

    def _know_foreign(self, key: bytes) -> None:
        if len(self.foreign) >= _FOREIGN_LIMIT:
            self.foreign.clear()
        self.foreign.add(key)
