"""How many folders of a tree are watched, and how deep: whoever owns one may make any number."""

from typing import Final

from agent.sensors.folder_tree import FolderTree, parent_of
from agent.sensors.watchlist import WatchList

_MOST_FOLDERS: Final = 60_000
"""On a host, in all trees."""
_MOST_BYTES: Final = 4000
"""A longer path cannot be opened."""


class FolderBounds:
    """The folders that are watched, by the tree that they belong to.

    A tree is a folder of the watch list of which everything below is watched.
    """

    def __init__(self, watch_list: WatchList) -> None:
        """Count from nothing."""
        self._watch_list = watch_list
        self._folders = FolderTree()
        self._top: dict[bytes, bytes] = {}
        self._counts: dict[bytes, int] = {}
        self.exceeded: dict[bytes, str] = {}
        """Trees, and folders outside of trees, that go beyond their bound, and how."""

    def watch(self, watch_list: WatchList) -> None:
        """Judge by another list from now on."""
        self._watch_list = watch_list

    def __contains__(self, folder: bytes) -> bool:
        """Whether a folder is watched."""
        return folder in self._folders

    def admit(self, folder: bytes) -> bool:
        """Whether a folder can be watched; it counts from now on, and so do those above it."""
        way: list[bytes] = []
        while folder and folder not in self._folders:
            way.append(folder)
            folder = parent_of(folder)
        return all(map(self._admit, reversed(way)))

    def _admit(self, folder: bytes) -> bool:
        top = self._tree_of(folder)
        why = self._why_not(folder, top)
        if why:
            self.exceeded.setdefault(top or folder, why)
            return False
        self._folders.add(folder)
        if top:
            self._top[folder] = top
            self._counts[top] = self._counts.get(top, 0) + 1
        return True

    def _tree_of(self, folder: bytes) -> bytes:
        """Return the top of the tree that a folder is in; nothing when it only leads on."""
        top = self._top.get(parent_of(folder))
        if top is not None:
            return top
        return folder if self._watch_list.tree_of(folder) is not None else b""

    def _why_not(self, folder: bytes, top: bytes) -> str:
        if len(folder) > _MOST_BYTES:
            return f"paths longer than {_MOST_BYTES} bytes are not watched"
        if len(self._folders) >= _MOST_FOLDERS:
            return f"more than {_MOST_FOLDERS} folders of a host are not watched"
        entry = self._watch_list.tree_of(top) if top else None
        if entry is None:
            return ""
        if folder.count(b"/") - top.count(b"/") > entry.most_depth:
            return f"folders more than {entry.most_depth} deep are not watched"
        if self._counts.get(top, 0) >= entry.most_folders:
            return f"more than {entry.most_folders} folders are not watched"
        return ""

    def gone(self, folder: bytes) -> None:
        """A folder and those below it are no more."""
        for each in self._folders.take(folder):
            top = self._top.pop(each, None)
            if top is not None:
                self._counts[top] -= 1
                if not self._counts[top]:
                    del self._counts[top]
                    self.exceeded.pop(top, None)
        self.exceeded.pop(folder, None)
