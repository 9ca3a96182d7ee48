"""The agent's loop: sense, identify, fold, seal, spool, twenty times a second."""

import asyncio
from collections.abc import Callable

import structlog

from agent.hashing.hashing import Hashing
from agent.names import UserNames
from agent.output import Output, Witness
from agent.sensors import OpenSensors
from agent.sensors.records import LossRecord, Record
from agent.sensors.watchlist import WatchList
from agent.spool import Spool
from agent.stages.budget import Budgets
from agent.stages.clock_steps import ClockSteps
from agent.stages.identify import Identifier
from agent.stages.seal import Sealer
from agent.translate import Translator
from chassis import clock
from chassis.counters import Gauge
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

log = structlog.get_logger()
processes_gauge = Gauge("nightherd_agent_processes", "Processes that are known to live")

TICK_S = 0.05
GRAIN_NS = 8_000_000
"""How coarse audit's times are: the kernel's tick, cut to milliseconds."""
STALL_NS = 2_000_000_000


class Pipeline:
    """From sensors to the spool."""

    def __init__(
        self,
        sensors: OpenSensors,
        watch_list: WatchList,
        spool: Spool,
        sealer: Sealer,
        wake: Callable[[], None],
        budgets: Budgets | None = None,
    ) -> None:
        """Work with sensors that are open; `wake` is called when the spool has more.

        Without `budgets` nobody is cut short.
        """
        self.sensors = sensors
        self.source_failed = asyncio.Event()
        """Set when a source failed and was closed: what is left may not do."""
        self._names = UserNames()
        self.identifier = Identifier(clock.boot_id(), self._names)
        self._output = Output(spool, sealer, wake, budgets or Budgets(0))
        self._translator = Translator(self.identifier, self._names, watch_list, self._output)
        self._clock = ClockSteps()
        self._last_tick_ns = clock.boot_ns()
        self._running_hashed = False
        self.tell, self.gap = self._output.tell, self._output.gap
        self.given_up = self._output.given_up

    @property
    def watch_list(self) -> WatchList:
        """Which names are watched."""
        return self._translator.watch_list

    @watch_list.setter
    def watch_list(self, watch_list: WatchList) -> None:
        self._translator.watch_list = watch_list

    @property
    def witness(self) -> Witness | None:
        """Who looks at the events that pass by."""
        return self._output.witness

    @witness.setter
    def witness(self, witness: Witness | None) -> None:
        self._output.witness = witness

    @property
    def hashing(self) -> Hashing | None:
        """What makes hashes of the files that events name."""
        return self._output.hashing

    def hash_with(self, hashing: Hashing | None) -> None:
        """Have files hashed that run or change from now on, and what runs already."""
        self._output.hashing = hashing
        self._running_hashed = False

    @property
    def event_count(self) -> int:
        """Events sealed so far."""
        return self._output.event_count

    @property
    def lost_count(self) -> int:
        """Events known to be lost so far."""
        return self._output.lost_count

    @property
    def collected(self) -> int:
        """Events that are not sealed yet."""
        return self._output.collected

    @property
    def unwritten(self) -> int:
        """Batches that the disk has not taken yet."""
        return self._output.unwritten

    def limit(self, limits: delivery.Limits) -> None:
        """Seal no larger batches, and say no more arguments, than a receiver takes."""
        self._output.limit(limits.body_size_bytes)
        self.identifier.images.limit(limits.arguments_size_bytes)

    @property
    def seen_through_ns(self) -> int:
        """Until when the sensors were read last (boot clock)."""
        return self._last_tick_ns

    async def run(self) -> None:
        """Tick until cancelled, then once more, and seal what is there."""
        try:
            while True:
                self.tick()
                await asyncio.sleep(TICK_S)
        except asyncio.CancelledError:
            self.tick()
            raise
        finally:
            self.finish()

    def tick(self) -> None:
        """One round."""
        now = clock.boot_ns()
        step_ns = self._clock.look(now)
        self._output.offset_ns = self._clock.offset_ns
        self._names.refresh()
        self.identifier.begin_tick(self._output.offset_ns, now)
        if now - self._last_tick_ns > STALL_NS:
            self._stalled(self._last_tick_ns, now)
        self._last_tick_ns = now
        if step_ns:
            self.tell(events.Event(time_change=events.TimeChange(step_ns=step_ns)))
        self.identifier.grain_ns = GRAIN_NS if self.sensors.level == "audit" else 0
        self._translator.doings.know(self.sensors.tells())
        self._translator.audited = any(each.name == "audit" for each in self.sensors.sensors)
        self._translator.handle(self._drain(now), now)
        self._translator.advance(now)
        self.identifier.forget(now)
        if not self._running_hashed and self._output.hashing is not None:
            self._running_hashed = True  # the first tick of sensors told what ran before
            self._output.hashing.running(process.ran for process in self.identifier.processes)
        self._output.advance(now)
        processes_gauge.set(len(self.identifier.processes))

    def finish(self) -> None:
        """Seal everything that is collected."""
        self._translator.finish(clock.boot_ns())
        self._output.finish()

    def _drain(self, now: int) -> list[Record]:
        records: list[Record] = []
        for sensor in tuple(self.sensors.sensors):
            try:
                records += sensor.drain()
            except OSError as error:
                self.sensors.sensors.remove(sensor)
                self.source_failed.set()
                sensor.close()
                self.sensors.not_seen.append(f"The source {sensor.name} failed: {error}.")
                log.error("source failed", source=sensor.name, why=str(error))  # noqa: TRY400
                detail = "The source failed and was closed."
                records.append(LossRecord(sensor.name, now, now, None, detail))
        return records

    def _stalled(self, since: int, now: int) -> None:
        self.tell(
            self.gap(
                events.Gap.CAUSE_AGENT_STALLED,
                since,
                now,
                source="agent",
                detail="The agent did not get to run; what the kernel kept meanwhile is complete, "
                "what it dropped is told apart.",
            )
        )
