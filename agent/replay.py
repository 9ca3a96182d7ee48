"""Replay: what was recorded is shipped, as a host of its own, of origin IMPORTED.

Recorded batches keep their events as they were; logs become events (`audit_import`). Batches are
sealed into a chain of the import's own, so that the store can prove the import as it proves a host.
"""

import argparse
import asyncio
import gc
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import structlog
import zstandard

from agent import segments, ship
from agent.audit_import import AuditImport
from agent.auditd_log import AuditdLog
from agent.identity import signing_key
from agent.run import lock
from agent.settings import Settings
from agent.ship import Shipper
from agent.spool import Spool
from agent.stages.seal import Body, Host, Part, Sealer
from chassis import clock
from chassis.channel import Channel
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events

log = structlog.get_logger()
MOST_BODY_BYTES = 4 << 20
PROGRESS_S = 1.0
MOST_SHOWN = 20
"""Rejects of which people are told one by one."""
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


class Source(Protocol):
    """Something that was recorded. The same files give the same parts."""

    def parts(self) -> Iterator[Part]:
        """Yield batches to be sealed."""

    def summary(self) -> str:
        """Return what became of what was read, a line or more; "" when there is no more to say."""


class Recording:
    """Segments of a spool."""

    def __init__(self, files: list[Path], reject: Callable[[str], None]) -> None:
        """Read `files`."""
        self._files, self._reject = files, reject

    def parts(self) -> Iterator[Part]:
        """See Source."""
        for path in self._files:
            end = 0
            for record in segments.read(path):
                if record.offset > end:
                    self._reject(f"{path.name}: {record.offset - end} bytes at {end} are no batch")
                end = record.end
                batch = record.batch
                header = pb.BatchHeader.FromString(batch.header)
                try:
                    size = zstandard.frame_content_size(batch.body)
                    if not 0 <= size <= MOST_BODY_BYTES:
                        raise ValueError("its body is too large")  # noqa: TRY301
                    raw = zstandard.ZstdDecompressor().decompress(batch.body)
                    if hashlib.sha256(raw).digest() != header.body_hash:
                        raise ValueError("its body is not the one that was sealed")  # noqa: TRY301
                    body = events.EventBatch.FromString(raw)
                except (ValueError, zstandard.ZstdError) as error:
                    self._reject(f"{path.name}: batch {header.batch_number}: {error}")
                    continue
                if body.events:
                    yield Part(Body.of(body), "", clock.wall_minus_boot_ns())
            if path.stat().st_size > end:
                left = path.stat().st_size - end
                self._reject(f"{path.name}: {left} bytes at the end are no batch")

    def summary(self) -> str:
        """See Source."""
        return ""


class Logs:
    """Logs of auditd."""

    def __init__(self, files: list[Path], reject: Callable[[str], None]) -> None:
        """Read `files`."""
        self._log = AuditdLog(files, reject)
        self._import = AuditImport(uuid.UUID(bytes=_digest(files)[:16]))

    def parts(self) -> Iterator[Part]:
        """See Source."""
        return self._import.parts(self._log)

    def summary(self) -> str:
        """See Source."""
        return self._import.summary(self._log.lines, self._log.rejected)


FORMATS: Final[dict[str, Callable[[list[Path], Callable[[str], None]], Source]]] = {
    "batches": Recording,
    "auditd": Logs,
}


async def replay_files(settings: Settings, arguments: argparse.Namespace) -> int:
    """Replay `arguments.files`; return the exit status: 0 all shipped, 1 something rejected."""
    missing = [str(path) for path in arguments.files if not path.is_file()]
    if missing:
        print(f"replay: no such file: {', '.join(missing)}", file=sys.stderr)  # noqa: T201
        return 2
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the agent does: what it makes seldom has cycles
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

    The same files become the same batches, in order, so a number says how far it came: a replay
    that was killed goes on, and one that was finished does nothing.
    """
    try:
        begun: dict[str, int] = json.loads(journal.read_text(encoding="ascii"))
    except (OSError, ValueError):
        begun = {}
    key = _digest(files).hex()
    if key not in begun:
        begun[key] = last
        fresh = journal.with_suffix(".new")
        fresh.write_text(json.dumps(begun), encoding="ascii")
        fresh.replace(journal)
    following = min((at for at in begun.values() if at > begun[key]), default=last)
    return following - begun[key]


def _digest(files: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


async def _feed(
    arguments: argparse.Namespace,
    spool: Spool,
    sealer: Sealer,
    shippers: list[Shipper],
    skip: int,
) -> int:
    began, sent, batches = time.monotonic(), 0, 0
    told = began
    rejects = Rejects()
    source = FORMATS[arguments.format](arguments.files, rejects)
    for part in islice(source.parts(), skip, None):
        while _behind(spool, shippers) > MOST_BEHIND:  # noqa: ASYNC110  (cursors tell nobody)
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


def seal(part: Part, sealer: Sealer, spool: Spool) -> None:
    """Seal a part as the next batch of the chain, into the spool."""
    batch = sealer.seal(part.body, part.wall_minus_boot_ns, part.boot_id)
    spool.append([batch], [sealer.link])


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
