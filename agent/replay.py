"""Replay: what was recorded is shipped, as a host of its own, of origin IMPORTED.

Recorded batches keep their events as they were; logs become events (`audit_import`). Batches are
sealed into a chain of the import's own, so that the store can prove the import as it proves a host.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import structlog

from agent import ship
from agent.identity import signing_key
from agent.patience import NotTakenError, Patience
from agent.recordings import FORMATS, digest_of, seal
from agent.run import lock
from agent.settings import Settings
from agent.ship import Shipper
from agent.spool import Spool
from agent.stages.seal import Host, Sealer
from chassis import clock
from chassis.channel import Channel
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as pb

log = structlog.get_logger()
PROGRESS_S = 1.0
MOST_SHOWN = 20
"""Rejects of which people are told one by one."""
NOT_TAKEN = 4
JOURNAL = "imports.json"
MOST_BEHIND = 500
"""Batches read ahead of the slowest receiver."""


class Rejects:
    """What was not taken: the first are shown, all are counted."""

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0

    def __call__(self, why: str) -> None:
        """Note what was not taken, and why."""
        self.count += 1
        if self.count <= MOST_SHOWN:
            print(f"replay: not taken: {why}", file=sys.stderr)  # noqa: T201
        elif self.count == MOST_SHOWN + 1:
            print("replay: further ones are only counted", file=sys.stderr)  # noqa: T201


async def replay_files(settings: Settings, arguments: argparse.Namespace) -> int:
    """Replay `arguments.files`; return the exit status.

    0 all shipped, 1 something rejected, 2 no such file, 4 a receiver is not reached.
    """
    missing = [str(path) for path in arguments.files if not path.is_file()]
    if missing:
        print(f"replay: no such file: {', '.join(missing)}", file=sys.stderr)  # noqa: T201
        return 2
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as the agent does: what it makes seldom has cycles
    held = lock(settings.dir)
    spool = Spool(settings.dir / "spool", settings.spool_bytes)
    host = Host(arguments.host_id, arguments.herd, clock.boot_id(), "replay", pb.ORIGIN_IMPORTED)
    sealer = Sealer(host, signing_key(settings.dir), spool.link)
    identity = Identity(settings.tls_dir)
    shippers: dict[Shipper, str] = {}
    channels: list[Channel] = []
    for receiver, address in (
        (ship.STORE, settings.store),
        (ship.DETECTOR, settings.detector),
        (ship.MODELER, settings.modeler),
    ):
        if address:
            channels.append(Channel(address, identity, receiver.name))
            shipper = Shipper(
                receiver, channels[-1], spool, arguments.host_id, "replay", _no_directive
            )
            shippers[shipper] = address
    shipping = [asyncio.create_task(shipper.run()) for shipper in shippers]
    try:
        patience = Patience(shippers, spool, arguments.wait)
        await patience.until_reached()
        skip = already_sealed(settings.dir / JOURNAL, arguments.files, spool.link.number)
        return await _feed(arguments, spool, sealer, list(shippers), skip, patience)
    except NotTakenError as error:
        print(f"replay: {error}", file=sys.stderr)  # noqa: T201
        return NOT_TAKEN
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

    The same files become the same batches, in order, so a number says how far it came: a replay
    that was killed goes on, and one that was finished does nothing.
    """
    try:
        runs: list[tuple[str, int]] = [(k, at) for k, at in json.loads(journal.read_bytes())]
    except (OSError, ValueError, TypeError):
        runs = []
    key = digest_of(files).hex()
    # Each run sealed what lies between its beginning and that of the next one.
    ends = [*(at for _, at in runs[1:]), last]
    sealed = sum(end - at for (k, at), end in zip(runs, ends, strict=False) if k == key)
    if not runs or runs[-1][0] != key:
        fresh = journal.with_suffix(".new")
        fresh.write_text(json.dumps([*runs, (key, last)]), encoding="ascii")
        fresh.replace(journal)
    return sealed


async def _feed(
    arguments: argparse.Namespace,
    spool: Spool,
    sealer: Sealer,
    shippers: list[Shipper],
    skip: int,
    patience: Patience,
) -> int:
    began, sent, batches = time.monotonic(), 0, 0
    told = began
    rejects = Rejects()
    source = FORMATS[arguments.format](arguments.files, rejects)
    for part in islice(source.parts(), skip, None):
        while _behind(spool, shippers) > MOST_BEHIND:
            patience.check()
            await asyncio.sleep(0.02)
        seal(part, sealer, spool)
        for shipper in shippers:
            shipper.wake()
        sent += part.body.event_count
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
        patience.check()
        await asyncio.sleep(0.1)
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            _progress(sent, began, _behind(spool, shippers))
    if source.summary():
        print(source.summary())  # noqa: T201
    print(  # noqa: T201
        f"replayed {sent} events in {batches} batches as host {arguments.host_id}; "
        f"{rejects.count} rejected; {time.monotonic() - began:.1f} s"
        + (f"; {skip} batches were sealed by an earlier run" if skip else "")
    )
    return 1 if rejects.count else 0


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
