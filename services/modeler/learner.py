"""Group commit: what many streams teach at the same time is merged and written once."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import structlog

from chassis import clock
from chassis.counters import Counter
from chassis.mongo import PyMongoError
from services.modeler.domain.evidence import Evidence, merge
from services.modeler.domain.learning import Learned, Lesson, Sight
from services.modeler.repository.chains import Chains
from services.modeler.repository.lessons import Lessons
from services.modeler.repository.models import Models

log = structlog.get_logger()
written_total = Counter("nightherd_modeler_written", "Behaviours written because they were news")
RETRY_S = 0.5


@dataclass(slots=True)
class _Group:
    """What waits to be written."""

    lesson: Lesson = field(default_factory=Lesson)
    settled: dict[tuple[str, bytes], int] = field(default_factory=dict)
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)


class Learner:
    """Takes lessons in order; a chain is settled when all its lessons before are in the journal.

    A group that MongoDB does not take is tried again until it does: were it given up, a later one
    could settle its batches unlearned. The streams wait meanwhile, bounded by their windows.
    """

    def __init__(self, lessons: Lessons, models: Models, chains: Chains, most_known: int) -> None:
        """Write to these; remember up to `most_known` behaviours that need no writing."""
        self._lessons, self._models, self._chains = lessons, models, chains
        self._known = Known(most_known)
        self._group = _Group()
        self._news = asyncio.Event()

    async def learn(self, host_id: str, chain_id: bytes, number: int, lesson: Lesson) -> None:
        """Return when `lesson` is durable and its chain settled through `number`."""
        group = self._group
        group.lesson.add(lesson)
        key = (host_id, chain_id)
        group.settled[key] = max(number, group.settled.get(key, 0))
        done = asyncio.get_running_loop().create_future()
        group.waiting.append(done)
        self._news.set()
        await done

    async def run(self) -> None:
        """Write groups until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            group, self._group = self._group, _Group()
            while True:
                try:
                    await self._write(group)
                    break
                except PyMongoError as error:
                    log.warning("MongoDB took no lesson; trying again", error=str(error)[:200])
                    await asyncio.sleep(RETRY_S)
            for done in group.waiting:
                if not done.done():  # its stream may be gone
                    done.set_result(None)

    async def _write(self, group: _Group) -> None:
        news = self._known.news(group.lesson)
        # A model exists before anything of it is known.
        await self._models.meet({(s.herd, s.service) for s in news.sights}, clock.wall_ns())
        await self._lessons.learn(news)
        await self._chains.settle(group.settled)
        self._known.note(news)
        written_total.inc(len(news.behaviours))


class Known:
    """What is durable already, as far as memory goes: repeating it needs no write."""

    def __init__(self, most: int) -> None:
        """Remember at most `most` behaviours, and as many sights and spans."""
        self._most = most
        self._behaviours: OrderedDict[Learned, Evidence] = OrderedDict()
        self._sights: OrderedDict[Sight, tuple[int, int]] = OrderedDict()
        self._spans: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    def news(self, lesson: Lesson) -> Lesson:
        """Return what of `lesson` would change what is durable.

        What is remembered is part of what is durable, and merging is associative: if it adds
        nothing to the part, it adds nothing to the whole.
        """
        found = Lesson()
        for learned, evidence in lesson.behaviours.items():
            known = self._behaviours.get(learned)
            if known is None or merge(known, evidence) != known:
                found.behaviours[learned] = evidence
            else:
                self._behaviours.move_to_end(learned)
        for sight, (first, last) in lesson.sights.items():
            seen = self._sights.get(sight)
            if seen is None or first < seen[0] or last > seen[1]:
                found.sights[sight] = (first, last)
        found.spans = {span for span in lesson.spans if span not in self._spans}
        return found

    def note(self, durable: Lesson) -> None:
        """Remember what was written."""
        for learned, evidence in durable.behaviours.items():
            known = self._behaviours.get(learned)
            self._behaviours[learned] = evidence if known is None else merge(known, evidence)
        for sight, (first, last) in durable.sights.items():
            seen = self._sights.get(sight, (first, last))
            self._sights[sight] = (min(first, seen[0]), max(last, seen[1]))
        self._spans.update(dict.fromkeys(durable.spans))
        for table in (self._behaviours, self._sights, self._spans):
            while len(table) > self._most:
                table.popitem(last=False)
