"""What the agent does beside its loop: facts, status, self-test, directives."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.cloud import CloudFacts
from agent.cost import Cost
from agent.hostfacts import read_facts
from agent.memory import EASE_S, Memory
from agent.pipeline import Pipeline
from agent.selftest import Canary
from agent.sensors import open_sensors
from agent.spool import Spool
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

if TYPE_CHECKING:
    from agent.settings import Settings

log = structlog.get_logger()
FACTS_S = 300.0
PACKAGES_S = 20.0
NEWS_S = 5.0
MOST_ASKED, MOST_PATH_BYTES = 1000, 4096
"""Of the paths that a receiver wants to have watched."""
PATIENCE_S = (2.0, 5.0, 15.0)
"""How long the self-test waits, at the first try, the second, the third."""
_Status = events.AgentStatus
_LEVELS = {"full": events.LEVEL_FULL, "audit": events.LEVEL_AUDIT, "poll": events.LEVEL_POLL}
_DOWNWARDS = ("full", "auto", "audit", "poll")
"""Auto is full where it works: nobody gets above it by asking for full."""
_BELOW = {"full": "audit", "audit": "poll"}
_NAMES = {value: name for name, value in _LEVELS.items()}


class Care:
    """Looks after one agent."""

    def __init__(
        self, settings: "Settings", pipeline: Pipeline, spool: Spool, cost: Cost, version: str
    ) -> None:
        """Look after `pipeline`."""
        self._settings, self._pipeline, self._spool = settings, pipeline, spool
        self._version = version
        self._cloud = CloudFacts(settings.cloud, settings.cloud_url)
        self._facts: events.HostFacts | None = None
        self._passed = self._fallen = False
        self._wanted: str = settings.level
        self._asked = delivery.Directive()
        self._missing: list[str] = []
        self._not_seen: list[str] = []
        self._canaries = settings.dir / "canary"
        self._cost = cost
        self._memory = Memory()

    async def run(self) -> None:
        """Begin, then care until cancelled; the last status is written by `stop`."""
        await self._tell_facts()
        self.tell_status(_Status.STATE_STARTED)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._test_again_and_again())
            tasks.create_task(self._every(FACTS_S, self._tell_facts))
            tasks.create_task(self._every(PACKAGES_S, self._read_packages))
            tasks.create_task(self._every(NEWS_S, self._tell_news, at_once=True))
            tasks.create_task(self._every(self._settings.status_seconds, self._running))
            tasks.create_task(self._every(EASE_S, self._memory.ease))

    async def _every(
        self, seconds: float, do: Callable[[], object], *, at_once: bool = False
    ) -> None:
        if not at_once:
            await asyncio.sleep(seconds)
        while True:
            result = do()
            if asyncio.iscoroutine(result):
                await result
            await asyncio.sleep(seconds)

    async def _tell_facts(self) -> None:
        """Say what the host is, when that is news."""
        facts = await asyncio.to_thread(self._read_facts)
        if facts != self._facts:
            self._facts = facts
            self._pipeline.tell(events.Event(host_facts=facts))

    def _read_facts(self) -> events.HostFacts:
        cloud = self._cloud.read(clock.boot_ns())
        return read_facts(self._settings.cluster, tuple(self._settings.labels), cloud)

    async def _read_packages(self) -> None:
        """Learn which package owns what, when a package manager changed it."""
        await asyncio.to_thread(self._pipeline.identifier.images.owners.refresh)

    def _tell_news(self) -> None:
        """Say which batches of the spool cannot be read any more, and what is not seen any more."""
        if self._pipeline.sensors.sentences() != self._not_seen:
            self.tell_status(_Status.STATE_RUNNING)
        now = clock.boot_ns()
        for first, last in self._spool.take_damage():
            detail = f"Batches {first} to {last} of the spool are damaged."
            gap = self._pipeline.gap(
                events.Gap.CAUSE_SPOOL_DAMAGE, now, now, source="spool", detail=detail
            )
            gap.gap.first_batch, gap.gap.last_batch = first, last
            self._pipeline.tell(gap)

    def _running(self) -> None:
        self.tell_status(_Status.STATE_RUNNING, urgent=False)

    def tell_status(self, state: "_Status.State.ValueType", *, urgent: bool = True) -> None:
        """Say how the agent fares."""
        sensors = self._pipeline.sensors
        self._not_seen = sensors.sentences()
        status = _Status(
            state=state,
            level=_LEVELS[sensors.level],
            not_seen=self._not_seen,
            agent_version=self._version,
            self_test_passed=self._passed,
        )
        self._cost.fill(status)
        self._pipeline.tell(events.Event(agent_status=status), urgent=urgent)

    def stop(self) -> None:
        """Say that the agent stops in order."""
        self.tell_status(_Status.STATE_STOPPING)

    async def _test_again_and_again(self) -> None:
        """Test at once, every so often, and when a source failed."""
        failed = self._pipeline.source_failed
        while True:
            patience_s = PATIENCE_S[:1] if failed.is_set() else PATIENCE_S
            failed.clear()
            await self._test(patience_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.self_test_seconds):
                    await failed.wait()

    async def _test(self, patience_s: tuple[float, ...] = PATIENCE_S) -> None:
        """Test that the level works; one that does not is left, and tried again next time."""
        if self._fallen:
            self.switch(self._wanted, [])
            self._fallen = False
        while not await self._works(patience_s):
            patience_s = PATIENCE_S
            below = _BELOW.get(self._pipeline.sensors.level)
            if below is None:
                return
            self._fallen = True
            self.switch(below, self._missing)

    async def _works(self, patience_s: tuple[float, ...]) -> bool:
        """Run the self-test of this level, and tell what it shows."""
        began = clock.boot_ns()
        self._missing = missing = await self._canary(patience_s)
        sensors = self._pipeline.sensors
        changed = self._passed != (not missing)
        self._passed = not missing
        if not missing:
            if changed:
                self.tell_status(_Status.STATE_RUNNING)
            log.info("self-test passed", sensing=sensors.level)
            return True
        log.error("self-test failed", sensing=sensors.level, missing=missing)
        self._pipeline.tell(
            self._pipeline.gap(
                events.Gap.CAUSE_SENSOR_BLIND,
                began,
                clock.boot_ns(),
                source=sensors.level,
                detail=" ".join(missing),
            )
        )
        if sensors.level not in _BELOW:
            sensors.not_seen = [*dict.fromkeys([*sensors.not_seen, *missing])]
            self.tell_status(_Status.STATE_RUNNING)
        return False

    async def _canary(self, patience_s: tuple[float, ...]) -> list[str]:
        """Run the self-test until it passes, more patiently each time: a busy host is not blind."""
        missing: list[str] = []
        for each_s in patience_s:
            canary = Canary(self._canaries, whole=self._pipeline.sensors.level != "poll")
            self._pipeline.witness = canary
            try:
                missing = await canary.run(each_s)
            finally:
                self._pipeline.witness = None
            if not missing:
                break
        return missing

    def switch(self, level: str, why: list[str]) -> None:
        """Work at another level from now on."""
        old = self._pipeline.sensors
        if old.level == level:
            return
        self._pipeline.tick()  # what the old ones have is not lost
        began = self._pipeline.seen_through_ns
        old.close()
        fresh = open_sensors(level, self._pipeline.watch_list)  # type: ignore[arg-type]
        seeing = clock.boot_ns()
        fresh.not_seen = [*why, *fresh.not_seen]
        self._pipeline.sensors = fresh
        log.warning("level changed", sensing=fresh.level, s=round((seeing - began) / clock.NS, 2))
        detail = f"The level changed to {fresh.level}."
        self._pipeline.tell(
            self._pipeline.gap(
                events.Gap.CAUSE_SENSOR_BLIND, began, seeing, source=old.level, detail=detail
            )
        )
        self.tell_status(_Status.STATE_LEVEL_CHANGED)

    def obey(self, directive: delivery.Directive) -> None:
        """Do what a receiver asks: all of it, and no more what it asked before."""
        before, self._asked = self._asked, directive
        if before.watch_paths != directive.watch_paths:
            asked = [path for path in directive.watch_paths if _can_be_watched(path)]
            paths = [*asked[:MOST_ASKED], bytes(self._canaries), *_configured(self._settings)]
            self._pipeline.watch_list = self._pipeline.watch_list.with_paths(paths)
            self._pipeline.sensors.watch(self._pipeline.watch_list)
            log.info("watch list asked for", paths=len(asked))
        # Its own setting is the highest: what made somebody set it lower is still so.
        own = self._settings.level
        wanted = max(own, _NAMES.get(directive.level, own), key=_DOWNWARDS.index)
        if wanted != self._wanted:
            self._wanted = wanted
            why = [] if wanted == own else ["The backend asked for this level."]
            self.switch(wanted, why)
            self._pipeline.source_failed.set()  # it is tested at once


def _can_be_watched(path: bytes) -> bool:
    return path.startswith(b"/") and b"\0" not in path and len(path) <= MOST_PATH_BYTES


def watched_paths(settings: "Settings") -> list[bytes]:
    """Return the paths that are watched beside the list: the canary's folder and the settings'."""
    folder = settings.dir / "canary"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for stale in folder.glob("canary-*"):
        stale.unlink(missing_ok=True)
    return [bytes(folder), *_configured(settings)]


def _configured(settings: "Settings") -> list[bytes]:
    return [bytes(Path(path)) for path in settings.watch_paths]
