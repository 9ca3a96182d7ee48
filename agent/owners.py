"""Which package owns an executable, as the databases of dpkg and rpm say.

All paths of a host fit in one array of numbers: 48 bits of a path's hash, 16 bits that name the
package. Python keys the hash anew in each process, so nobody can make a path that meets another's.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

import structlog

from agent import dpkg_files, rpm_files

log = structlog.get_logger()
MOST_PACKAGES: Final = 65_535
MOST_PATHS: Final = 2_000_000
MOST_KNOWN: Final = 8192
_MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# What nobody executes, and half of all files.
_NO_PROGRAMS: Final = tuple(
    b"/usr/" + folder + b"/"
    for folder in (
        b"include share/doc share/man share/locale share/icons share/info share/zoneinfo src "
        b"share/licenses share/fonts share/mime share/lintian share/help"
    ).split()
)
Stamp = tuple[tuple[int, ...], ...]


class Index:
    """The owners of paths at one moment."""

    def __init__(
        self, owned: Iterable[tuple[str, Iterable[bytes]]], aliases: dict[bytes, bytes]
    ) -> None:
        """Index (package, its paths).

        Args:
            owned: packages; what exceeds the limits is left out.
            aliases: folders of the root that are links: name -> folder they lead to.
        """
        self._aliases = aliases
        self._packages: list[str] = []
        self._known: dict[bytes, str] = {}
        found = array("Q")
        for package, paths in owned:
            if len(self._packages) >= MOST_PACKAGES or len(found) >= MOST_PATHS:
                log.warning("package database is too large; the rest is left out", paths=len(found))
                break
            number = len(self._packages)
            self._packages.append(package)
            found.extend(
                _mixed(path) | number
                for path in map(self._real, paths)
                if not path.startswith(_NO_PROGRAMS)
            )
        self._paths = array("Q", sorted(found))

    def __len__(self) -> int:
        """How many paths are known."""
        return len(self._paths)

    def owner(self, path: bytes) -> str:
        """Return the package that owns an absolute path, or ""."""
        known = self._known.get(path)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[path] = self._look_up(path)
        return known

    def _look_up(self, path: bytes) -> str:
        mixed = _mixed(self._real(path))
        place = bisect_left(self._paths, mixed)
        if place < len(self._paths) and self._paths[place] >> 16 == mixed >> 16:
            return self._packages[self._paths[place] & 0xFFFF]
        return ""

    def spellings(self, path: bytes) -> frozenset[bytes]:
        """See Owners.spellings."""
        found = [path[1:]]
        for alias, target in self._aliases.items():
            if path.startswith(target + b"/"):
                found.append(alias + path[len(target) :])
        return frozenset(found)

    def _real(self, path: bytes) -> bytes:
        """Spell a path the way the kernel does: databases may say /bin/x for /usr/bin/x."""
        first, slash, rest = path[1:].partition(b"/")
        target = self._aliases.get(first)
        return target + slash + rest if target is not None else path


def _mixed(path: bytes) -> int:
    return hash(path) & 0xFFFF_FFFF_FFFF_0000


class Owners:
    """The owners of paths, kept up to date by whoever calls `refresh` (in a thread)."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Know nobody yet; read the databases below `root`."""
        self.root = root
        self._stamp: Stamp | None = None
        self._index: Index | None = None

    @property
    def known(self) -> bool:
        """Whether there is a database, and it was read: then what it does not list has no owner."""
        return self._index is not None

    def owner(self, path: bytes) -> str:
        """Return the package that owns an absolute path; "" for none, or when not known."""
        index = self._index
        return index.owner(path) if index is not None else ""

    def spellings(self, path: bytes) -> frozenset[bytes]:
        """Return how packages may spell an absolute path, without the first slash."""
        index = self._index
        return index.spellings(path) if index is not None else frozenset()

    def refresh(self) -> bool:
        """Read the databases again if they changed; say whether they did. Takes tenths of a s."""
        stamp = tuple(dpkg_files.stamp(self.root)) + tuple(rpm_files.stamp(self.root))
        if stamp == self._stamp:
            return False
        owned = chain(dpkg_files.owned(self.root), rpm_files.owned(self.root))
        index = Index(owned, _aliases(self.root))
        # Unreadable or empty: rather no opinion than "nobody owns dpkg".
        self._index, self._stamp = index if len(index) else None, stamp
        return True


def _aliases(root: Path) -> dict[bytes, bytes]:
    """Return which folders of the root lead elsewhere: /bin is a link to usr/bin nowadays."""
    found = {}
    for name in _MERGED:
        folder = root / name
        if folder.is_symlink():
            target = Path("/") / folder.readlink()
            found[name.encode()] = bytes(target)
    return found
