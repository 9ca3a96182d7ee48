"""Moves models through their life: one replica at a time, whenever a span is over."""

import asyncio
from dataclasses import replace
from typing import Any

import structlog

from behaviour.model import ACTIVE
from chassis import clock
from chassis.mongo import Database, PyMongoError
from nightherd.modeler.v1 import model_pb2 as pb
from services.modeler.domain.calendar import Calendar
from services.modeler.domain.lifecycle import FROZEN, Rule
from services.modeler.domain.maturity import maturity
from services.modeler.domain.standing import Standing
from services.modeler.repository.lessons import Lessons
from services.modeler.repository.locks import Lease
from services.modeler.repository.models import Models

log = structlog.get_logger()
LONGEST_PAUSE_S = 2.0
HELD_S = 30.0


class Caretaker:
    """Judges models at the end of each span and tells detectors what is new."""

    def __init__(
        self,
        database: "Database[Any]",
        models: Models,
        lessons: Lessons,
        calendar: Calendar,
        rule: Rule,
    ) -> None:
        """Care for these models by this rule."""
        self._lease = Lease(database, "lifecycle", HELD_S)
        self._models, self._lessons = models, lessons
        self._calendar, self._rule = calendar, rule

    async def run(self) -> None:
        """Go round until cancelled."""
        pause_s = min(self._calendar.unit_seconds / 4, LONGEST_PAUSE_S)
        while True:
            try:
                if await self._lease.take() is not None:
                    await self.round(clock.wall_ns())
            except PyMongoError as error:
                log.warning("a round of care failed; trying again", error=str(error)[:200])
            await asyncio.sleep(pause_s)

    async def leave(self) -> None:
        """Let another replica take over at once."""
        await self._lease.give_back()

    async def round(self, now_ns: int) -> None:
        """Judge what is due at `now_ns`; publish models that detectors know too little of."""
        span = self._calendar.span(now_ns // clock.NS)
        for standing in await self._models.to_judge(span):
            await self._judge(standing, span, now_ns)
        untold = await self._models.untold()
        counts = await self._lessons.counts([(s.herd, s.service) for s in untold])
        for standing, count in zip(untold, counts, strict=True):
            if standing.revision == 0 or count != standing.told_count:
                async with self._models.changing() as change:
                    now = await change.get(standing.herd, standing.service)
                    if now is not None and now.state not in ACTIVE:
                        await change.put(replace(now, told_count=count))

    async def _judge(self, standing: Standing, span: int, now_ns: int) -> None:
        known = await self._lessons.behaviours(standing.herd, standing.service)
        # Acts settle soon, writes are the noise: a model is in force when its acts are known.
        acts = [evidence for behaviour, evidence in known if behaviour.facet != pb.FACET_WRITES]
        spans = await self._lessons.spans(standing.herd, standing.service)
        seen = maturity(spans, acts, span, self._calendar)
        await self._models.judged(replace(standing, maturity=seen), span)
        state = self._rule.next_state(standing.state, seen)
        if state == standing.state:
            return
        async with self._models.changing() as change:
            now = await change.get(standing.herd, standing.service)
            if now is None or now.state != standing.state:  # a person was faster
                return
            wanted = replace(
                now,
                state=state,
                state_ns=now_ns,
                changed_by="",
                frozen=now.frozen if state in FROZEN else 0,
                told_count=len(known),
            )
            freeze = sorted(behaviour for behaviour, _ in known) if state in ACTIVE else None
            written = await change.put(wanted, freeze)
        log.info(
            "model moved on",
            herd=written.herd,
            service=written.service,
            state=pb.ModelState.Name(state),
            revision=written.revision,
            predicted=round(seen.predicted, 3),
        )
