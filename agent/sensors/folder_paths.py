"""From the handles in fanotify's events to paths: a cache that knows what moves.

Handles are of interest or foreign. Foreign ones (most of a busy filesystem's) cost a set look-up.
"""

from typing import Final

from agent.sensors import fanotify_api as api
from agent.sensors.mounts import is_below
from agent.sensors.watchlist import WatchList

_FOREIGN_LIMIT: Final = 50_000


class FolderPaths:
    """Paths of folders by key (filesystem id and handle)."""

    def __init__(self, watch_list: WatchList) -> None:
        """Know nothing yet."""
        self._watch_list = watch_list
        self._paths: dict[bytes, bytes] = {}
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

    def know(self, key: bytes, path: bytes) -> None:
        """Remember where a folder is."""
        if self._watch_list.leads_on(path):
            self._paths[key] = path
            self.foreign.discard(key)
        else:
            self._paths.pop(key, None)
            self._know_foreign(key)

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
            self._paths[key] = path
        return path

    def ask(self, key: bytes) -> bytes | None:
        """The path of any folder, foreign ones too, from the kernel where it is not known."""
        known = self._paths.get(key)
        if known is not None:
            return known
        beside = self._filesystems.get(key[:8])
        return None if beside is None else api.path_of(key, beside)

    def moved(self, old: bytes, new: bytes) -> None:
        """A folder has another path: so has all below it."""
        below = old + b"/"
        for key, path in tuple(self._paths.items()):
            if path == old or path.startswith(below):
                self.know(key, new + path[len(old) :])

    def gone(self, path: bytes) -> None:
        """A folder is no more; whatever gets its name is another one."""
        below = path + b"/"
        for key, known in tuple(self._paths.items()):
            if known == path or known.startswith(below):
                del self._paths[key]

    def remounted(self, point: bytes) -> None:
        """Another filesystem is seen at a mount point: what was known there lies elsewhere now."""
        self.gone(point)
        for filesystem, path in tuple(self._filesystems.items()):
            if is_below(path, point):
                del self._filesystems[filesystem]
                for key, other in self._paths.items():
                    if key[:8] == filesystem:
                        self._filesystems[filesystem] = other
                        break

    def _know_foreign(self, key: bytes) -> None:
        if len(self.foreign) >= _FOREIGN_LIMIT:
            self.foreign.clear()
        self.foreign.add(key)
