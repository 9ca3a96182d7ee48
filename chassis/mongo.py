"""MongoDB: the one module that names the driver.

Motor is past its end of life; `pymongo.AsyncMongoClient` is the way on (docs/adr/0004).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bson import Binary, decode
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import (
    ASCENDING,
    DESCENDING,
    IndexModel,
    InsertOne,
    ReplaceOne,
    ReturnDocument,
    UpdateOne,
    WriteConcern,
)
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from chassis.errors import UnavailableError

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "AutoReconnect",
    "Binary",
    "BulkWriteError",
    "Client",
    "Collection",
    "Database",
    "DuplicateKeyError",
    "IndexModel",
    "InsertOne",
    "InvalidBSON",
    "InvalidURI",
    "OperationFailure",
    "PyMongoError",
    "RawBSONDocument",
    "ReplaceOne",
    "ReturnDocument",
    "UpdateOne",
    "WriteConcern",
    "connect",
    "decode",
    "mongo_errors",
    "raw",
    "reachable",
    "until_reachable",
]

Client = AsyncIOMotorClient
Database = AsyncIOMotorDatabase
Collection = AsyncIOMotorCollection

SERVER_SELECTION_MS = 5_000
SOCKET_MS = 60_000


def connect(url: str) -> "Client[Any]":
    """Return a client for `url`; nothing is sent yet.

    Writes are acknowledged after the journal (j: true) unless a caller asks for less.

    Raises:
        InvalidURI: `url` is not a MongoDB URL.
    """
    return AsyncIOMotorClient(
        url,
        tz_aware=True,
        journal=True,
        serverSelectionTimeoutMS=SERVER_SELECTION_MS,
        socketTimeoutMS=SOCKET_MS,
        appname="nightherd",
    )


def raw(collection: "Collection[Any]") -> "Collection[Any]":
    """Return `collection`, of which documents are read as the bytes they are."""
    options = collection.codec_options._replace(document_class=RawBSONDocument)
    return collection.with_options(codec_options=options)


async def reachable(client: "Client[Any]") -> bool:
    """Whether MongoDB answers now."""
    try:
        await client.admin.command("ping")
    except PyMongoError:
        return False
    return True


async def until_reachable(client: "Client[Any]", pause_s: float = 1.0) -> None:
    """Wait until MongoDB answers."""
    while not await reachable(client):  # noqa: ASYNC110  (only asking tells)
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def mongo_errors() -> AsyncIterator[None]:
    """Turn the driver's errors into `UnavailableError` (callers try again later)."""
    try:
        yield
    except PyMongoError as error:
        raise UnavailableError("MongoDB does not answer as it should; try again later") from error
