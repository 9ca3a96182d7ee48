"""Replay: recorded batches shipped again, as a host of their own, of origin IMPORTED.

The events stay what they were; batches are sealed anew into a chain of the import's own, so that
the store can prove the import as it proves a host.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog
import zstandard

from agent import segments, ship
from agent.identity import signing_key
from agent.run import lock
from agent.settings import Settings
from agent.ship import Shipper
from agent.spool import Spool
from agent.stages.seal import Body, Host, Sealer
from chassis import clock
from chassis.channel import Channel
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events

log = structlog.get_logger()
MOST_BODY_BYTES = 4 << 20
PROGRESS_S = 1.0
MOST_BEHIND = 500
"""Batches read ahead of the slowest receiver."""


def recorded(files: list[Path]) -> Iterator[events.EventBatch | str]:
    """Yield the bodies of recorded batches, or a sentence for each that cannot be read."""
    for path in files:
        end = 0
        for record in segments.read(path):
            end = record.end
            batch = record.batch()
            header = pb.BatchHeader.FromString(batch.header)
            try:
                size = zstandard.frame_content_size(batch.body)
                if not 0 <= size <= MOST_BODY_BYTES:
                    raise ValueError("its body is too large")  # noqa: TRY301
                raw = zstandard.ZstdDecompressor().decompress(batch.body)
                if hashlib.sha256(raw).digest() != header.body_hash:
                    raise ValueError("its body is not the one that was sealed")  # noqa: TRY301
                yield events.EventBatch.FromString(raw)
            except (ValueError, zstandard.ZstdError) as error:
                yield f"{path.name}: batch {header.batch_number}: {error}"
        if path.stat().st_size > end:
            yield f"{path.name}: {path.stat().st_size - end} bytes at the end are no batch"


async def replay_files(settings: Settings, arguments: argparse.Namespace) -> int:
    """Replay `arguments.files`; return the exit status: 0 all shipped, 1 something rejected."""
    missing = [str(path) for path in arguments.files if not path.is_file()]
    if missing:
        print(f"replay: no such file: {', '.join(missing)}", file=sys.stderr)  # noqa: T201
        return 2
    held = lock(settings.dir)
    spool = Spool(settings.dir / "spool", settings.spool_bytes)
    host = Host(arguments.host_id, arguments.herd, clock.boot_id(), "replay", pb.ORIGIN_IMPORTED)
    sealer = Sealer(host, signing_key(settings.dir), spool.link)
    identity = Identity(settings.tls_dir)
    shippers: list[Shipper] = []
    channels: list[Channel] = []
    for receiver, address in (
        (ship.STORE, settings.store),
        (ship.DETECTOR, settings.detector),
        (ship.MODELER, settings.modeler),
    ):
        if address:
            channels.append(Channel(address, identity, receiver.name))
            shippers.append(
                Shipper(receiver, channels[-1], spool, arguments.host_id, "replay", _no_directive)
            )
    shipping = [asyncio.create_task(shipper.run()) for shipper in shippers]
    try:
        skip = already_sealed(settings.dir / "imports.json", arguments.files, spool.link.number)
        return await _feed(arguments, spool, sealer, shippers, skip)
    finally:
        for task in shipping:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        spool.close()
        for channel in channels:
            await channel.close()
        os.close(held)


def already_sealed(journal: Path, files: list[Path], last: int) -> int:
    """Return how many batches of `files` an earlier run sealed into this spool.

    Each recorded batch becomes one batch, in order, so a number says how far it came: a replay that
    was killed goes on, and one that was finished does nothing.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    try:
        begun: dict[str, int] = json.loads(journal.read_text(encoding="ascii"))
    except (OSError, ValueError):
        begun = {}
    key = digest.hexdigest()
    if key not in begun:
        begun[key] = last
        fresh = journal.with_suffix(".new")
        fresh.write_text(json.dumps(begun), encoding="ascii")
        fresh.replace(journal)
    following = min((at for at in begun.values() if at > begun[key]), default=last)
    return following - begun[key]


def unsealed(files: list[Path], skip: int, rejects: list[str]) -> Iterator[events.EventBatch]:
    """Yield the bodies of `files` after the first `skip`; say and note what cannot be read."""
    skipped = 0
    for body in recorded(files):
        if isinstance(body, str):
            print(f"replay: not taken: {body}", file=sys.stderr)  # noqa: T201
            rejects.append(body)
        elif body.events and skipped < skip:
            skipped += 1
        elif body.events:
            yield body


async def _feed(
    arguments: argparse.Namespace,
    spool: Spool,
    sealer: Sealer,
    shippers: list[Shipper],
    skip: int,
) -> int:
    began, sent, batches = time.monotonic(), 0, 0
    told = began
    rejects: list[str] = []
    for body in unsealed(arguments.files, skip, rejects):
        while _behind(spool, shippers) > MOST_BEHIND:  # noqa: ASYNC110  (cursors tell nobody)
            await asyncio.sleep(0.02)
        spool.append([sealer.seal(Body.of(body), clock.wall_minus_boot_ns())], [sealer.link])
        for shipper in shippers:
            shipper.wake()
        sent += len(body.events)
        batches += 1
        if arguments.events_per_second > 0:
            due = began + sent / arguments.events_per_second
            await asyncio.sleep(max(due - time.monotonic(), 0))
        else:
            await asyncio.sleep(0)
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            _progress(sent, began, _behind(spool, shippers))
    while _behind(spool, shippers):
        await asyncio.sleep(0.1)
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            _progress(sent, began, _behind(spool, shippers))
    print(  # noqa: T201
        f"replayed {sent} events in {batches} batches as host {arguments.host_id}; "
        f"{len(rejects)} rejected; {time.monotonic() - began:.1f} s"
        + (f"; {skip} batches were sealed by an earlier run" if skip else "")
    )
    return 1 if rejects else 0


def _behind(spool: Spool, shippers: list[Shipper]) -> int:
    """Batches that the slowest receiver has not acknowledged."""
    return max((spool.link.number - spool.cursors[shipper.name] for shipper in shippers), default=0)


def _progress(sent: int, began: float, behind: int) -> None:
    rate = sent / max(time.monotonic() - began, 0.001)
    print(  # noqa: T201
        f"replay: {sent} events read, {rate:.0f}/s, {behind} batches not acknowledged",
        file=sys.stderr,
    )


def _no_directive(directive: pb.Directive) -> None:
    del directive  # an import watches nothing
