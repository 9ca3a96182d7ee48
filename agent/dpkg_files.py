"""The files that dpkg's packages own.

/var/lib/dpkg/info/NAME.list has one path a line; /var/lib/dpkg/diversions has three lines for each
file that lies elsewhere than its package says (path, where it is, package that may use the path).

References: dpkg(1), dpkg-divert(1)
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

_DPKG: Final = "var/lib/dpkg"
_WATCHED: Final = ("info", "status", "diversions")
Diversions = dict[bytes, tuple[bytes, str]]
"""Path -> (where others' file of that name lies, package whose file does lie there)."""


def stamp(root: Path) -> Iterator[tuple[int, ...]]:
    """Yield what changes whenever the database does."""
    for name in _WATCHED:
        try:
            status = (root / _DPKG / name).stat()
        except OSError:
            yield (0,)
        else:
            yield (status.st_mtime_ns, status.st_size, status.st_ino)


def owned(root: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield (package, absolute paths as its list spells them)."""
    diverted = _diversions(root / _DPKG / "diversions")
    for file in sorted((root / _DPKG / "info").glob("*.list")):
        package = file.name.removesuffix(".list").partition(":")[0]
        yield package, _paths(file, package, diverted)


def _paths(file: Path, package: str, diverted: Diversions) -> Iterator[bytes]:
    before = b""
    for line in chain(_lines(file), (b"",)):
        if before.startswith(b"/") and not line.startswith(before + b"/"):
            # Folders, which stand before what they hold, are left out.
            elsewhere, keeper = diverted.get(before, (before, package))
            yield before if keeper == package else elsewhere
        before = line


def _diversions(file: Path) -> Diversions:
    lines = list(_lines(file))
    return {
        path: (elsewhere, package.decode("utf-8", "replace"))
        for path, elsewhere, package in zip(lines[::3], lines[1::3], lines[2::3], strict=False)
        if path.startswith(b"/") and elsewhere.startswith(b"/")
    }


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            for line in opened:
                yield line.rstrip(b"\n")
    except OSError:
        return
