"""Whether a model allows a behaviour, and what it knows instead."""

from dataclasses import dataclass

from behaviour.behaviours import Behaviour
from behaviour.capabilities import of_file, of_program
from behaviour.model import Model
from nightherd.modeler.v1 import model_pb2 as pb

NEAREST = 3


@dataclass(frozen=True, slots=True)
class Deviation:
    """A behaviour that a model does not allow.

    Attributes:
        behaviour: what was done.
        nearest: subjects of the same facet that the model knows, the most alike first, at most 3.
        known_count: how many subjects of that facet it knows.
    """

    behaviour: Behaviour
    nearest: tuple[str, ...]
    known_count: int


def allows(model: Model, behaviour: Behaviour) -> bool:
    """Whether `behaviour` is normal for `model`. Costs a few look-ups, whatever the model's size.

    A capability that the model obtains allows all its programs and files: who may add accounts may
    do so with any of the tools, and their working files are part of it.
    """
    facet, subject = behaviour
    subjects = model.subjects
    if subject in subjects.get(facet, ()):
        return True
    obtained = subjects.get(pb.FACET_OBTAINS)
    if not obtained:
        return False
    if facet == pb.FACET_RUNS:
        return not obtained.isdisjoint(of_program(subject))
    if facet == pb.FACET_WRITES:
        return not obtained.isdisjoint(of_file(subject))
    return False


def deviation(model: Model, behaviour: Behaviour) -> Deviation | None:
    """Return how `behaviour` breaks `model`, or None when it is normal. Ignores the state."""
    if allows(model, behaviour):
        return None
    known = model.known(behaviour.facet)
    return Deviation(behaviour, _nearest(behaviour.subject, known), len(known))


def _nearest(subject: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return what shares the longest beginning with `subject`; only deviations pay for it."""
    return tuple(sorted(known, key=lambda other: (-_shared(subject, other), other))[:NEAREST])


def _shared(one: str, other: str) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
