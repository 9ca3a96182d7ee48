"""The life of a model: learning, dry run, active; and what a person may make of it."""

from dataclasses import dataclass

from behaviour.model import ACTIVE, State
from chassis.errors import FailedPreconditionError
from nightherd.modeler.v1 import model_pb2 as pb
from services.modeler.domain.maturity import RECENT_SPANS, Maturity

AUTOMATIC = frozenset(
    {
        pb.MODEL_STATE_LEARNING,
        pb.MODEL_STATE_DRY_RUN,
        pb.MODEL_STATE_LEARNING_EXTENDED,
    }
)
"""States that the rule may change by itself."""

FROZEN = ACTIVE | {pb.MODEL_STATE_MANUAL_RELEARNING}
"""States that keep a frozen revision: what is new is a candidate."""

SETTABLE = frozenset(
    {
        pb.MODEL_STATE_LEARNING,
        pb.MODEL_STATE_MANUAL_LEARNING,
        pb.MODEL_STATE_MANUAL_RELEARNING,
        pb.MODEL_STATE_MANUAL_ACTIVE,
    }
)
LEAST_SPANS = 2


class StateNotSettableError(FailedPreconditionError):
    """A person cannot set this state (now)."""

    reason = "STATE_NOT_SETTABLE"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a model knows enough.

    Attributes:
        stories_a_span: most new stories a span that activating may cost.
    """

    stories_a_span: float = 0.5

    @property
    def recent(self) -> float:
        """Most stories that the last spans may have begun."""
        return RECENT_SPANS * self.stories_a_span

    def next_state(self, state: State, seen: Maturity) -> State:
        """Return the state that follows from `state` at the end of a span (often the same)."""
        if state not in AUTOMATIC:
            return state
        settled = seen.spans >= LEAST_SPANS and seen.predicted <= self.stories_a_span
        calm = seen.recent <= self.recent
        if state == pb.MODEL_STATE_DRY_RUN:
            # The first span is all new: it must lie before the spans that are judged.
            if seen.spans <= RECENT_SPANS:
                return state
            if not calm:
                return pb.MODEL_STATE_LEARNING_EXTENDED
            return pb.MODEL_STATE_ACTIVE if settled else state
        if state == pb.MODEL_STATE_LEARNING_EXTENDED:
            settled = settled and calm  # or it would swing to and fro
        return pb.MODEL_STATE_DRY_RUN if settled else state

    def waiting_for(self, state: State, seen: Maturity) -> list[str]:
        """Return what keeps a model from activating, one sentence each."""
        if state not in AUTOMATIC:
            return []
        found = []
        if seen.spans <= RECENT_SPANS:
            found.append(
                f"It was active in {seen.spans} whole days of observation; "
                f"{RECENT_SPANS + 1} are needed."
            )
        if seen.predicted > self.stories_a_span:
            found.append(
                f"{seen.singles} new stories in {seen.spans} days were seen on one day only, "
                f"{seen.predicted:.2g} a day; at most {self.stories_a_span:g} a day may be."
            )
        if seen.spans > RECENT_SPANS and seen.recent > self.recent:
            found.append(
                f"The last {RECENT_SPANS} days brought {seen.recent} new stories; "
                f"at most {self.recent:g} may be."
            )
        return found or ["The end of the running day of observation."]


def may_set(now: State, wanted: State) -> None:
    """Refuse a state that a person cannot set.

    Raises:
        StateNotSettableError: not one of the four, or relearning of a model that is not in force.
    """
    if wanted not in SETTABLE:
        raise StateNotSettableError(
            "a person can set learning, manualLearning, manualRelearning and manualActive"
        )
    if wanted == pb.MODEL_STATE_MANUAL_RELEARNING and now not in FROZEN:
        raise StateNotSettableError("only an active model can learn again; set manualLearning")
