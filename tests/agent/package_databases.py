"""Package databases as dpkg and rpm write them, made by hand in a folder that stands for the root.

The bytes of an rpm header are written here as rpm's documents describe them.
"""

import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

INT32, STRING, STRING_ARRAY, I18N = 4, 6, 8, 9


def dpkg(root: Path, files: dict[str, Sequence[str]], diversions: Sequence[str] = ()) -> None:
    """Write lists; parents of files are listed before them, as dpkg does."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    for package, paths in files.items():
        lines = ["/."]
        for path in sorted(paths):
            for folder in reversed(Path(path).parents[:-1]):
                if str(folder) not in lines:
                    lines.append(str(folder))
            lines.append(path)
        (info / f"{package}.list").write_text("\n".join(lines) + "\n")
        (info / f"{package}.md5sums").write_text("0 x\n")
    (root / "var/lib/dpkg/diversions").write_text("".join(f"{line}\n" for line in diversions))
    (root / "var/lib/dpkg/status").write_text("".join(f"Package: {name}\n\n" for name in files))


def entries(*tags: tuple[int, int, Sequence[bytes | int]]) -> bytes:
    """Return an rpm header: (tag, type, values) each."""
    index, data = b"", b""
    for tag, kind, values in tags:
        if kind == INT32:
            data += b"\0" * (-len(data) % 4)  # numbers stand at multiples of their size
            packed = struct.pack(f">{len(values)}I", *values)
        else:
            packed = b"".join(bytes(value) + b"\0" for value in values)
        index += struct.pack(">IIII", tag, kind, len(data), len(values))
        data += packed
    return struct.pack(">II", len(tags), len(data)) + index + data


def rpm_header(name: str, paths: Sequence[str]) -> bytes:
    """Return a package's header as rpmdb keeps it."""
    folders = sorted({path.rpartition("/")[0] + "/" for path in paths})
    summary = (1004, I18N, [b"A package", b"Ein Paket"])
    tags = [(1000, STRING, [name.encode()]), (1001, STRING, [b"1.0"]), summary]
    if paths:
        tags += [
            (1116, INT32, [folders.index(path.rpartition("/")[0] + "/") for path in paths]),
            (1117, STRING_ARRAY, [path.rpartition("/")[2].encode() for path in paths]),
            (1118, STRING_ARRAY, [folder.encode() for folder in folders]),
        ]
    return entries(*tags)


def rpm(
    root: Path, headers: Sequence[bytes], place: str = "var/lib/rpm/rpmdb.sqlite"
) -> sqlite3.Connection:
    """Write a database with a journal, as rpm does; the caller closes the connection."""
    file = root / place
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS Packages"
        " (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
    )
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(h,) for h in headers])
    connection.commit()
    return connection


def closed(connection: sqlite3.Connection) -> None:
    """Close, which empties the journal."""
    with closing(connection):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
