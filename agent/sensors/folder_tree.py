"""Paths of folders, so that all below one are found without a look at the others."""

from collections.abc import Iterator


def parent_of(path: bytes) -> bytes:
    """The folder that a path lies in; of `/`, nothing."""
    return b"" if path == b"/" else path.rpartition(b"/")[0] or b"/"


def in_folder(folder: bytes, name: bytes) -> bytes:
    """The path of a name in a folder."""
    return folder.rstrip(b"/") + b"/" + name


class FolderTree:
    """A set of paths of folders."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._below: dict[bytes, set[bytes]] = {}
        self._known: set[bytes] = set()

    def __contains__(self, path: bytes) -> bool:
        """Whether a path was added."""
        return path in self._known

    def __len__(self) -> int:
        """Return how many paths were added."""
        return len(self._known)

    def add(self, path: bytes) -> None:
        """Add a path, and the way to it."""
        self._known.add(path)
        while (parent := parent_of(path)) and path not in (beside := self._beside(parent)):
            beside.add(path)
            path = parent

    def _beside(self, parent: bytes) -> set[bytes]:
        return self._below.setdefault(parent, set())

    def take(self, path: bytes) -> list[bytes]:
        """Remove and return a path and those below it, as far as they were added."""
        found: list[bytes] = []
        self._below.get(parent_of(path), set()).discard(path)
        waiting = [path]
        while waiting:
            each = waiting.pop()
            waiting += self._below.pop(each, ())
            if each in self._known:
                self._known.discard(each)
                found.append(each)
        return found

    def below(self, path: bytes) -> Iterator[bytes]:
        """Yield a path and those below it, as far as they were added."""
        waiting = [path]
        while waiting:
            each = waiting.pop()
            waiting += self._below.get(each, ())
            if each in self._known:
                yield each
