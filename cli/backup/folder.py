"""A backup's folder: a manifest, a file a collection, and keys if they were asked for.

manifest.json names every file with its documents, bytes and SHA-256. A file is one zstd stream of
BSON documents, one behind the other, as MongoDB keeps them.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zstandard

VERSION = 1
MANIFEST = "manifest.json"
KEYS = "keys"
PROGRAMS = ("store", "modeler", "detector", "gateway")
MOST_DOCUMENT_BYTES = (16 << 20) + (16 << 10)
"""What MongoDB itself takes."""
MOST_MANIFEST_BYTES = 256 << 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
CHUNK_BYTES = 1 << 20


class BackupError(Exception):
    """A backup cannot be made, read, or restored; says why."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """One collection."""

    program: str
    """Whose database it is of."""
    name: str
    file: str
    documents: int
    size_bytes: int
    """Of the file."""
    sha256: str
    indexes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Key:
    """A file of the home folder."""

    path: str
    """Below the home folder."""
    sha256: str


@dataclass(slots=True)
class Manifest:
    """What is in a backup."""

    begun: str
    ended: str = ""
    nightherd: str = ""
    mongodb: str = ""
    collections: list[Dumped] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it, durable when this returns."""
        content = json.dumps({"version": VERSION, **asdict(self)}, indent=1).encode()
        with _created(folder / MANIFEST) as fd:
            fd.write(content)
            fd.flush()
            os.fsync(fd.fileno())


def _created(path: Path) -> Any:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(fd, "wb")


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Return the manifest of a backup and its hash.

    Raises:
        BackupError: there is none, or it is none that this version reads.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as opened:
            content = opened.read(MOST_MANIFEST_BYTES)
        document = json.loads(content)
        if document.pop("version") != VERSION:
            raise BackupError(f"{path}: another version of Nightherd made it")
        document["collections"] = [Dumped(**each) for each in document["collections"]]
        document["keys"] = [Key(**each) for each in document["keys"]]
        manifest = Manifest(**document)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}: no backup is here") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BackupError(f"{path} is no manifest") from None
    for each in manifest.collections:
        if (
            each.program not in PROGRAMS
            or not NAME.fullmatch(str(each.name))
            or each.file != file_of(each.program, each.name)
            or not isinstance(each.indexes, list)
        ):
            raise BackupError(f"{path}: {each.file!r} is no file of a backup")
    for key in manifest.keys:
        if Path(key.path).is_absolute() or ".." in Path(key.path).parts:
            raise BackupError(f"{path}: {key.path!r} does not lie in a home folder")
    return manifest, hashlib.sha256(content).hexdigest()


def file_of(program: str, name: str) -> str:
    """Return the path of a collection's file within a backup."""
    return f"{program}/{name}.bson.zst"


class Writer:
    """Writes the file of one collection."""

    def __init__(self, path: Path) -> None:
        """Create `path`; it must not exist."""
        self._opened = _created(path)
        self._sha256, self.documents, self.size_bytes = hashlib.sha256(), 0, 0
        self._compressor = zstandard.ZstdCompressor(level=3).compressobj()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file, durable when this returns without an error."""
        with self._opened:
            if kind is None:
                self._write(self._compressor.flush())
                self._opened.flush()
                os.fsync(self._opened.fileno())

    def add(self, document: bytes) -> None:
        """Append one BSON document."""
        self.documents += 1
        self._write(self._compressor.compress(document))

    def _write(self, content: bytes) -> None:
        if content:
            self._sha256.update(content)
            self.size_bytes += len(content)
            self._opened.write(content)

    @property
    def sha256(self) -> str:
        """Hash of the file, hex."""
        return self._sha256.hexdigest()


def documents(folder: Path, dumped: Dumped) -> Iterator[bytes]:
    """Yield the BSON documents of a collection; the file was checked when the last one came.

    Raises:
        BackupError: it is not what the manifest says.
    """
    path = folder / dumped.file
    count = 0
    try:
        with path.open("rb") as opened, _Hashing(opened) as hashing:
            source: Any = hashing
            stream = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=False)
            while length := _exactly(stream, 4, path, at_end=True):
                size = int.from_bytes(length, "little")
                if not 5 <= size <= MOST_DOCUMENT_BYTES:  # noqa: PLR2004  (an empty document)
                    raise BackupError(f"{path}: document {count + 1} is no BSON")
                yield length + _exactly(stream, size - 4, path)
                count += 1
            hashing.drain()
            if (hashing.sha256, hashing.size_bytes) != (dumped.sha256, dumped.size_bytes):
                raise BackupError(f"{path}: SHA-256 or size is not what the manifest says")
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from None
    except zstandard.ZstdError:
        raise BackupError(f"{path} is damaged") from None
    if count != dumped.documents:
        raise BackupError(f"{path} holds {count} documents, the manifest says {dumped.documents}")


class _Hashing:
    """Reads a file and hashes what was read."""

    def __init__(self, opened: Any) -> None:
        self._opened, self._sha256, self.size_bytes = opened, hashlib.sha256(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._opened.read(min(size, CHUNK_BYTES) if size >= 0 else CHUNK_BYTES)
        self._sha256.update(content)
        self.size_bytes += len(content)
        return content

    def drain(self) -> None:
        """Read what lies behind the stream: there must be nothing, and the hash says so."""
        while self.read(CHUNK_BYTES):
            pass

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def _exactly(stream: Any, size: int, path: Path, *, at_end: bool = False) -> bytes:
    content = bytearray()
    while len(content) < size:
        part = stream.read(size - len(content))
        if not part:
            if at_end and not content:
                return b""
            raise BackupError(f"{path} ends in the middle of a document")
        content += part
    return bytes(content)
