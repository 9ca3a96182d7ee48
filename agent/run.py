"""One agent, wired and run until SIGTERM."""

import asyncio
import fcntl
import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent import downtime, renewal, ship
from agent.care import Care, watched_paths
from agent.cost import Cost
from agent.hashing.hashing import Hashing
from agent.identity import signing_key
from agent.pipeline import Pipeline
from agent.sensors import folders, open_sensors, watchlist
from agent.ship import Shipper
from agent.spool import Spool
from agent.stages.budget import Budgets
from agent.stages.seal import Host, Sealer
from chassis import clock
from chassis.channel import Channel
from chassis.counters import serve_metrics
from chassis.notify import notify
from chassis.signals import terminated
from chassis.tls import Identity

if TYPE_CHECKING:
    from agent.settings import Settings

log = structlog.get_logger()
FLUSH_S = 2.0
"""How long the end waits for receipts of what was just sealed."""


def lock(folder: Path) -> int:
    """Let one agent at a time use `folder`.

    Raises:
        SystemExit: another one does.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"agent: another agent uses {folder}") from None
    return fd


async def run(settings: "Settings", version: str) -> None:  # noqa: C901, PLR0915  (wiring)
    """Watch this host until SIGTERM."""
    stop = terminated()
    lock(settings.dir)
    renewal.complete(settings.tls_dir)
    identity = Identity(settings.tls_dir)
    peer = identity.peer()
    if peer.role != "host" or (settings.herd and settings.herd != peer.herd):
        raise SystemExit(
            f"agent: the certificate is of role {peer.role!r} and herd {peer.herd!r}, "
            f"not of a host of herd {settings.herd or peer.herd!r}: enrol this host anew"
        )
    # Before anything that takes time: what happens meanwhile waits in the kernel.
    watch_list = folders.of_this_host(watchlist.load()).with_paths(watched_paths(settings))
    sensors = open_sensors(settings.level, watch_list)
    seeing_ns = clock.boot_ns()
    status = f"STATUS=It watches at the level {sensors.level}."
    notify("READY=1", status, f"X_NIGHTHERD_LEVEL={sensors.level}")
    spool = Spool(settings.dir / "spool", settings.spool_bytes)
    host = Host(peer.host_id, peer.herd, clock.boot_id(), version)
    sealer = Sealer(host, signing_key(settings.dir), spool.link)
    shippers: list[Shipper] = []

    def wake() -> None:
        for shipper in shippers:
            shipper.wake()

    pipeline = Pipeline(
        sensors, watch_list, spool, sealer, wake, Budgets(settings.service_events_per_second)
    )
    pipeline.hash_with(Hashing.of_this_host(settings.hash_bytes, settings.hash_cpu_percent))
    cost = Cost(pipeline, spool, shippers)
    care = Care(settings, pipeline, spool, cost, version)
    channels = []
    for receiver, address in (
        (ship.STORE, settings.store),
        (ship.DETECTOR, settings.detector),
        (ship.MODELER, settings.modeler),
    ):
        if address:
            channel = Channel(address, identity, receiver.name, settings.retry_seconds)
            channels.append(channel)
            shippers.append(
                Shipper(
                    receiver,
                    channel,
                    spool,
                    peer.host_id,
                    version,
                    care.obey,
                    pipeline.limit,
                    pipeline.given_up,
                    settings.retry_seconds,
                )
            )
    cost.serve()
    metrics = serve_metrics(settings.metrics_listen)
    renewing = renewal.Renewing(identity, settings.enrolment) if settings.enrolment else None
    log.info(
        "watching",
        host=peer.host_id,
        herd=peer.herd,
        sensing=sensors.level,
        not_seen=sensors.sentences(),
    )
    if sensors.said:
        log.warning("the kernel refused a level", said=sensors.said)
    await asyncio.to_thread(pipeline.identifier.images.owners.refresh)
    pipeline.tell(*downtime.gaps(settings.dir, spool, seeing_ns))
    # What is loaded now stays; what comes is messages and tuples without cycles. Looking for
    # cycles among them all the time would cost a tenth of the CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    ticking = asyncio.create_task(pipeline.run())
    caring = asyncio.create_task(care.run())
    shipping = [asyncio.create_task(shipper.run()) for shipper in shippers]
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait(
            {ticking, caring, *shipping, stopping}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
    finally:
        if renewing is not None:
            renewing.stop()
        caring.cancel()
        care.stop()
        for task in (ticking, caring):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if not (pipeline.unwritten or pipeline.collected):
            seen = pipeline.seen_through_ns
            downtime.note(settings.dir, spool.link.number, seen, clock.wall_minus_boot_ns())
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await _until_settled(spool, shippers)
        for task in (*shipping, stopping):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        pipeline.sensors.close()
        spool.close()
        for channel in channels:
            await channel.close()
        if metrics is not None:
            metrics.close()
        log.info("stopped", number=spool.link.number)


async def _until_settled(spool: Spool, shippers: list[Shipper]) -> None:
    while any(  # noqa: ASYNC110  (cursors are plain numbers)
        shipper.connected and spool.cursors[shipper.name] < spool.link.number
        for shipper in shippers
    ):
        await asyncio.sleep(0.05)
