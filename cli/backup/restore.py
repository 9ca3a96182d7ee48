"""`nightherd backup restore`: into an empty MongoDB, all of it or nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chassis.mongo import Client, Database, RawBSONDocument, WriteConcern
from cli.backup.create import Say, databases
from cli.backup.folder import PROGRAMS, BackupError, Dumped, Manifest, documents, read_manifest

MARK = "restoring"
PART_DOCUMENTS, PART_BYTES = 1000, 8 << 20
_KEPT = ("name", "unique", "sparse", "partialFilterExpression", "expireAfterSeconds", "collation")


async def restore(client: "Client[Any]", folder: Path, say: Say) -> Manifest:
    """Restore a backup; what was begun and did not end is begun anew.

    Raises:
        BackupError: the backup is damaged, or MongoDB has data already; nothing is left of it then.
        PyMongoError: MongoDB does not take it.
    """
    manifest, digest = read_manifest(folder)
    targets = {
        program: client.get_database(name, write_concern=WriteConcern(w="majority", j=True))
        for program, name in databases().items()
    }
    for database in targets.values():
        await _empty(database, digest, say)
    # The mark first: after a kill -9 the next restore of the same backup knows what to remove.
    for program in PROGRAMS:
        await targets[program][MARK].insert_one({"_id": digest})
    try:
        for dumped in manifest.collections:
            await _restored(targets[dumped.program], folder, dumped, say)
    except BaseException:  # Ctrl-C too: half a restore is none
        for database in targets.values():
            await client.drop_database(database.name)
        raise
    for database in targets.values():
        await database[MARK].drop()
    return manifest


async def _empty(database: "Database[Any]", digest: str, say: Say) -> None:
    names = await database.list_collection_names()
    if not names:
        return
    mark = await database[MARK].find_one({}) if MARK in names else None
    if mark is None or mark["_id"] != digest:
        raise BackupError(
            f"the database {database.name} is not empty: restore into an empty MongoDB, with "
            "Nightherd stopped"
        )
    say(f"{database.name}: removed what a restore left that did not end")
    for name in names:
        if name != MARK:
            await database[name].drop()
    await database[MARK].drop()


async def _restored(database: "Database[Any]", folder: Path, dumped: Dumped, say: Say) -> None:
    await database.create_collection(dumped.name)
    if dumped.indexes:
        wanted = [_index(index) for index in dumped.indexes]
        await database.command("createIndexes", dumped.name, indexes=wanted)
    for part in _parts(documents(folder, dumped)):
        await database[dumped.name].insert_many(part, ordered=False)
    say(f"{dumped.program} {dumped.name}: {dumped.documents} documents")


def _index(index: dict[str, Any]) -> dict[str, Any]:
    return {"key": index["key"], **{name: index[name] for name in _KEPT if name in index}}


def _parts(found: Iterator[bytes]) -> Iterator[list[RawBSONDocument]]:
    part: list[RawBSONDocument] = []
    size = 0
    for document in found:
        if part and (len(part) == PART_DOCUMENTS or size + len(document) > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(RawBSONDocument(document))
        size += len(document)
    if part:
        yield part
