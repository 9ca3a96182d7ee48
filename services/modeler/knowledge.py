"""What is normal: models as detectors and people get them, and what people do to them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from behaviour.behaviours import Behaviour
from behaviour.model import ACTIVE, Model, State, by_facet
from chassis import clock
from chassis.errors import InvalidArgumentError, NotFoundError
from nightherd.modeler.v1 import modeler_service_pb2 as service_pb
from services.modeler.domain.lifecycle import AUTOMATIC, FROZEN, may_set
from services.modeler.domain.standing import Standing
from services.modeler.repository.lessons import Lessons
from services.modeler.repository.models import Models
from services.modeler.repository.sights import Seen, Sights

MAX_LIMIT, DEFAULT_LIMIT, MAX_VALUES, MAX_SEARCH = 1000, 50, 500, 256
NEVER = Seen(0, 0, ())


class ModelUnknownError(NotFoundError):
    """The service was never seen in the herd."""

    reason = "MODEL_UNKNOWN"


class ModelQueryError(InvalidArgumentError):
    """A question about models that cannot be asked."""

    reason = "MODEL_QUERY_INVALID"


@dataclass(frozen=True, slots=True)
class Portrait:
    """All there is to say about one model."""

    standing: Standing
    seen: Seen
    behaviours: tuple[Behaviour, ...] = ()
    candidates: tuple[Behaviour, ...] = ()


class Knowledge:
    """Reads and changes models."""

    def __init__(self, models: Models, lessons: Lessons, sights: Sights) -> None:
        """Ask these."""
        self._models, self._lessons, self._sights = models, lessons, sights

    async def model(self, standing: Standing) -> Model:
        """Return the model as detectors get it."""
        if standing.state in ACTIVE:
            behaviours = await self._models.frozen(standing)
        else:
            behaviours = await self._learned(standing)
        return Model(
            standing.herd,
            standing.service,
            standing.state,
            standing.revision,
            by_facet(behaviours),
        )

    async def page(self, request: service_pb.ListModelsRequest) -> tuple[list[Portrait], int]:
        """Return the models that match, and how many there are.

        Raises:
            ModelQueryError: too many values, or limits that make no sense.
        """
        query: dict[str, object] = {}
        for field, values in (
            ("herd", request.herds),
            ("service", request.services),
            ("state", request.states),
        ):
            if len(values) > MAX_VALUES:
                raise ModelQueryError(f"at most {MAX_VALUES} values may be asked for at once")
            if values:
                query[field] = {"$in": list(values)}
        if len(request.search) > MAX_SEARCH or "\0" in request.search:
            raise ModelQueryError(f"a search text has at most {MAX_SEARCH} characters, none NUL")
        if request.search:
            # $and: `service` may be asked for twice.
            found = {"service": {"$regex": re.escape(request.search), "$options": "i"}}
            query = {"$and": [query, found]}
        standings, total = await self._models.page(query, *paging(request.offset, request.limit))
        return await self._portraits(standings, brief=request.brief), total

    async def set_state(self, herd: str, service: str, state: State, by: str) -> Portrait:
        """Set a model's state as a person wants it; the same state again changes nothing.

        Raises:
            ModelUnknownError: the service was never seen in the herd.
            StateNotSettableError: not this state, or not now.
        """
        standing = await self._known(herd, service)
        may_set(standing.state, state)
        if standing.state != state:
            async with self._models.changing() as change:
                standing = await change.get(herd, service) or standing
                may_set(standing.state, state)
                if standing.state != state:
                    behaviours = await self._learned(standing)
                    wanted = replace(
                        standing,
                        state=state,
                        changed_by="" if state in AUTOMATIC else by,
                        state_ns=clock.wall_ns(),
                        frozen=standing.frozen if state in FROZEN else 0,
                        told_count=len(behaviours),
                    )
                    freeze = behaviours if state in ACTIVE else None
                    standing = await change.put(wanted, freeze)
        return (await self._portraits([standing], brief=False))[0]

    async def _known(self, herd: str, service: str) -> Standing:
        standing = await self._models.get(herd, service)
        if standing is None:
            raise ModelUnknownError("no such service was seen in this herd")
        return standing

    async def _learned(self, standing: Standing) -> list[Behaviour]:
        known = await self._lessons.behaviours(standing.herd, standing.service)
        return sorted(behaviour for behaviour, _ in known)

    async def _portraits(self, standings: Sequence[Standing], *, brief: bool) -> list[Portrait]:
        seen = await self._sights.of([(s.herd, s.service) for s in standings])
        found = []
        for standing in standings:
            portrait = Portrait(standing, seen.get((standing.herd, standing.service), NEVER))
            if not brief:
                learned = await self._learned(standing)
                frozen = learned
                if standing.state in FROZEN:
                    frozen = await self._models.frozen(standing)
                known = frozenset(frozen)
                portrait = replace(
                    portrait,
                    behaviours=tuple(frozen),
                    candidates=tuple(b for b in learned if b not in known),
                )
            found.append(portrait)
        return found


def paging(offset: int, limit: int) -> tuple[int, int]:
    """Return (offset, limit) with defaults.

    Raises:
        ModelQueryError: negative, or more than may be asked for.
    """
    if offset < 0 or not 0 <= limit <= MAX_LIMIT:
        raise ModelQueryError(f"offset is 0 or more, limit 0 to {MAX_LIMIT}")
    return offset, limit or DEFAULT_LIMIT
