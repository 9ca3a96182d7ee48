"""`nightherd backup create`: while everything runs.

Order, so that whatever is referred to is there: first what refers to batches (chains, findings,
hosts, gaps), then headers, the bounds of days, bodies, those that incidents keep, at last the
marks of removals. A header's body was written before it, and copy and mark before it went. Batches
that come meanwhile may be there without their chain's knowing: the store takes that up as it does
after a crash.
"""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from chassis import clock, mongo
from chassis.mongo import Client, Database, RawBSONDocument
from cli.backup import keys
from cli.backup.folder import PROGRAMS, BackupError, Dumped, Manifest, Writer, file_of
from cli.homes import Home

LEFT_OUT = ("leases", "locks", "walks", "restoring")
"""What belongs to running programs: who does what now, and how far a walk came."""
_ORDER = ("batches_", "days", "bodies_", "kept_bodies", "removals")
TELL_EVERY = 100_000
Say = Callable[[str], None]


def databases() -> dict[str, str]:
    """Return program -> name of its database, as its settings say."""
    return {
        program: os.environ.get(f"NIGHTHERD_{program.upper()}_DATABASE", f"nightherd_{program}")
        for program in PROGRAMS
    }


def _rank(name: str) -> tuple[int, str]:
    for place, prefix in enumerate(_ORDER, start=1):
        if name.startswith(prefix):
            return place, name
    return 0, name


async def create(client: "Client[Any]", folder: Path, home: Home | None, say: Say) -> Manifest:
    """Write a backup to `folder`, which must not exist; keys of `home` too when it is given.

    Nothing half stays: the folder has its name only when all of it is there.

    Raises:
        BackupError: there is a folder of that name, or nothing to back up.
        PyMongoError: MongoDB does not answer.
        OSError: a file cannot be written.
    """
    partial = _begun(folder, say)
    try:
        manifest = await _written(client, partial, home, say)
        partial.rename(folder)
        _sync(folder.parent)
    except BaseException:  # Ctrl-C too: half a backup is none
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _begun(folder: Path, say: Say) -> Path:
    if folder.exists():
        raise BackupError(f"{folder} is there already")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        say(f"{partial} is left over from a backup that did not end: removed")
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700, parents=True)
    return partial


async def _written(client: "Client[Any]", folder: Path, home: Home | None, say: Say) -> Manifest:
    manifest = Manifest(begun=clock.rfc3339(clock.wall_ns()), nightherd=_version())
    manifest.mongodb = str((await client.server_info())["version"])
    for program, name in databases().items():
        database = client[name]
        (folder / program).mkdir(mode=0o700)
        for first in (True, False):
            # Listed again before headers: what chains refer to may lie in a day that just began.
            for each in await _names(database):
                if (_rank(each)[0] == 0) == first:
                    dumped = await _dumped(database[each], program, folder, say)
                    manifest.collections.append(dumped)
        _sync(folder / program)
    if not manifest.collections:
        raise BackupError("MongoDB has no database of Nightherd (is it the right one?)")
    if home is not None:
        manifest.keys = keys.save(home, folder)
    manifest.ended = clock.rfc3339(clock.wall_ns())
    manifest.write(folder)
    _sync(folder)
    return manifest


async def _names(database: "Database[Any]") -> list[str]:
    names = await database.list_collection_names(filter={"type": "collection"})
    kept = [name for name in names if not name.startswith("system.") and name not in LEFT_OUT]
    return sorted(kept, key=_rank)


async def _dumped(collection: Any, program: str, folder: Path, say: Say) -> Dumped:
    name = collection.name
    indexes = [
        {key: value for key, value in index.to_dict().items() if key not in ("v", "ns")}
        async for index in collection.list_indexes()
        if index["name"] != "_id_"
    ]
    file = file_of(program, name)
    with Writer(folder / file) as writer:
        document: RawBSONDocument
        async for document in mongo.raw(collection).find({}, batch_size=1000):
            writer.add(bytes(document.raw))
            if writer.documents % TELL_EVERY == 0:
                say(f"{program} {name}: {writer.documents} documents")
    say(f"{program} {name}: {writer.documents} documents, {writer.size_bytes} bytes")
    return Dumped(program, name, file, writer.documents, writer.size_bytes, writer.sha256, indexes)


def _version() -> str:
    try:
        return version("nightherd")
    except PackageNotFoundError:
        return "0.1.0+checkout"


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def to_stderr(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)
