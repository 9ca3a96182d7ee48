"""Connects, runs, says what became of it; 0 done, 1 the backup is broken, 2 it cannot be done."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chassis import mongo
from chassis.mongo import Client, PyMongoError
from cli import mongod
from cli.backup import keys
from cli.backup.create import create, to_stderr
from cli.backup.folder import BackupError, Manifest, read_manifest
from cli.backup.restore import restore
from cli.backup.verify import verify
from cli.environment import environment
from cli.errors import UpError
from cli.homes import Home, lock
from cli.readiness import mongo_answers, until_mongo_answers

STOP_S = 60.0


@asynccontextmanager
async def _connected(home: Home) -> AsyncIterator["Client[Any]"]:
    """Connect to NIGHTHERD_MONGO_URL, the home's running MongoDB, or the home's, started for this.

    Raises:
        UpError: none of them can be used.
    """
    found, url, process = mongod.find(), mongod.url_of(home), None
    if found.url:
        url = found.url
        await until_mongo_answers(url)
    elif not await mongo_answers(url):
        held = lock(home)
        process = _start(found, home)
    client = mongo.connect(url)
    try:
        if process is not None:
            async with asyncio.timeout(STOP_S):
                await mongo.until_reachable(client, 0.1)
        yield client
    finally:
        client.close()
        if process is not None:
            process.terminate()
            process.wait(STOP_S)
            del held


def _start(found: mongod.Found, home: Home) -> "subprocess.Popen[bytes]":
    if not found.binary:
        raise UpError("\n".join([*found.said, mongod.WAYS_OUT]))
    for folder in (home.data, home.sockets, home.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mongod.clear_sockets(home)
    return subprocess.Popen(
        mongod.arguments(found.binary, home),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _run(work: Callable[[], Awaitable[str]]) -> int:
    async def awaited() -> str:
        return await work()

    try:
        print(asyncio.run(awaited()))
    except (BackupError, UpError, PyMongoError, OSError, TimeoutError) as error:
        to_stderr(f"nightherd: {str(error)[:1000] or type(error).__name__}")
        return 2
    return 0


def _sum(manifest: Manifest) -> str:
    count = sum(each.documents for each in manifest.collections)
    size = sum(each.size_bytes for each in manifest.collections)
    return f"{len(manifest.collections)} collections, {count} documents, {size} bytes"


def run_create(home: Home, folder: Path, *, with_keys: bool) -> int:
    """Write a backup."""

    async def work() -> str:
        async with _connected(home) as client:
            made = await create(client, folder, home if with_keys else None, to_stderr)
        return f"{folder}: {_sum(made)}" + (f", {len(made.keys)} files of keys" * with_keys)

    return _run(work)


def run_restore(home: Home, folder: Path, *, with_keys: bool) -> int:
    """Restore a backup into an empty MongoDB."""

    async def work() -> str:
        manifest, _ = read_manifest(folder)
        keys.check(folder, manifest.keys)
        if with_keys:
            keys.restore(home, folder, manifest.keys)
        async with _connected(home) as client:
            return f"restored: {_sum(await restore(client, folder, to_stderr))}"

    return _run(work)


def run_verify(folder: Path) -> int:
    """Check a backup offline."""
    try:
        report = verify(folder)
    except BackupError as error:
        to_stderr(f"nightherd: {error}")
        return 1
    print(
        f"{folder}: {report.documents} documents, {report.batches} batches, "
        f"{report.header_only} of them without body (removed), {report.holes} holes in chains"
    )
    for fault in report.faults:
        print(f"  {fault}")
    print("BROKEN" if report.faults else "intact")
    return 1 if report.faults else 0
