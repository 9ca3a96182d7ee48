"""The files that rpm's packages own, from rpmdb.sqlite.

Each row of Packages holds one package's header without its magic: two big-endian numbers (entries,
bytes of data), the entries (tag, type, offset, count) and the data. File names are split: entry n
of BASENAMES lies in the folder DIRNAMES[DIRINDEXES[n]].

References: "RPM V4 Package format", "RPM database" at https://rpm.org/docs/
"""

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

log = structlog.get_logger()
DATABASES: Final = ("var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite")
MOST_HEADER_BYTES: Final = 64 << 20
MOST_ENTRIES: Final = 10_000
MOST_FILES: Final = 1_000_000
_NAME, _DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1000, 1116, 1117, 1118
_INT32, _STRING, _STRING_ARRAY = 4, 6, 8
_ENTRY: Final = struct.Struct(">IIII")


class BadHeaderError(ValueError):
    """A header that is not one."""


def stamp(root: Path) -> Iterator[tuple[int, ...]]:
    """Yield what changes whenever a database does."""
    for database in DATABASES:
        for suffix in ("", "-wal"):
            try:
                status = (root / (database + suffix)).stat()
            except OSError:
                yield (0,)
            else:
                yield (status.st_mtime_ns, status.st_size, status.st_ino)


def owned(root: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Yield (package, absolute paths)."""
    seen: set[Path] = set()
    for database in DATABASES:
        file = (root / database).resolve()  # one folder may be a link to the other
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        import sqlite3  # noqa: PLC0415  (a megabyte, for hosts that have such a database)

        try:
            yield from _packages(file)
        except sqlite3.Error as error:
            log.warning("package database not read", path=str(file), error=str(error))


def _packages(file: Path) -> Iterator[tuple[str, list[bytes]]]:
    journal = file.with_name(file.name + "-wal")
    # Reading past a journal needs a shared file beside the database; without one, leave no trace.
    quiet = not journal.exists() or not journal.stat().st_size
    uri = f"file:{quote(str(file))}?mode=ro" + ("&immutable=1" if quiet else "")
    import sqlite3  # noqa: PLC0415

    with closing(sqlite3.connect(uri, uri=True, timeout=2)) as connection:
        rows = connection.execute(
            "SELECT blob FROM Packages WHERE length(blob) <= ?", (MOST_HEADER_BYTES,)
        )
        for (blob,) in rows:
            try:
                yield files_of(bytes(blob))
            except (BadHeaderError, TypeError) as error:
                log.warning("package header not read", path=str(file), error=str(error))


def files_of(header: bytes) -> tuple[str, list[bytes]]:
    """Return a package's name and the absolute paths of its files.

    Raises:
        BadHeaderError: it is damaged, or larger than any package.
    """
    if len(header) < 8:  # noqa: PLR2004  (two numbers)
        raise BadHeaderError("too short")
    count, size = struct.unpack_from(">II", header)
    begin = 8 + count * _ENTRY.size
    if count > MOST_ENTRIES or begin + size > len(header):
        raise BadHeaderError("sizes do not fit")
    data = header[begin : begin + size]
    entries = {
        tag: (kind, offset, number)
        for tag, kind, offset, number in _ENTRY.iter_unpack(header[8:begin])
    }
    name = _strings(data, entries.get(_NAME, (_STRING, 0, 0)))
    folders = _strings(data, entries.get(_DIR_NAMES, (_STRING_ARRAY, 0, 0)))
    bases = _strings(data, entries.get(_BASE_NAMES, (_STRING_ARRAY, 0, 0)))
    places = _numbers(data, entries.get(_DIR_INDEXES, (_INT32, 0, 0)))
    if not name or len(bases) != len(places) or any(place >= len(folders) for place in places):
        raise BadHeaderError("names do not fit")
    paths = [folders[place] + base for place, base in zip(places, bases, strict=True)]
    return name[0].decode("utf-8", "replace"), [path for path in paths if path.startswith(b"/")]


def _strings(data: bytes, entry: tuple[int, int, int]) -> list[bytes]:
    kind, offset, count = entry
    if kind not in (_STRING, _STRING_ARRAY) or count > MOST_FILES or offset > len(data):
        raise BadHeaderError("not strings")
    parts = data[offset:].split(b"\0", count) if count else [b""]
    if len(parts) != count + 1:
        raise BadHeaderError("strings end early")
    return parts[:count]


def _numbers(data: bytes, entry: tuple[int, int, int]) -> tuple[int, ...]:
    kind, offset, count = entry
    if kind != _INT32 or count > MOST_FILES or offset + 4 * count > len(data):
        raise BadHeaderError("not numbers")
    return struct.unpack_from(f">{count}I", data, offset)
