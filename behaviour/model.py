"""What is normal for one service of one herd, as a frozen value."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from behaviour.behaviours import Behaviour, Facet
from nightherd.modeler.v1 import model_pb2 as pb

State: TypeAlias = "pb.ModelState.ValueType"

ACTIVE = frozenset({pb.MODEL_STATE_ACTIVE, pb.MODEL_STATE_MANUAL_ACTIVE})
"""States in which a model is in force: a deviation alerts."""


@dataclass(frozen=True)
class Model:
    """The model of one (herd, service).

    Attributes:
        herd: the herd.
        service: the service, as in Image.service.
        state: where it is in its life.
        revision: global revision at which it last changed.
        subjects: per facet, what is normal; when not active, what would be if it were now.
    """

    herd: str
    service: str
    state: State = pb.MODEL_STATE_LEARNING
    revision: int = 0
    subjects: dict[Facet, frozenset[str]] = field(default_factory=dict, hash=False)

    @property
    def active(self) -> bool:
        """Whether deviations alert."""
        return self.state in ACTIVE

    def known(self, facet: Facet) -> frozenset[str]:
        """Return the subjects that are normal for `facet`."""
        return self.subjects.get(facet, frozenset())

    def behaviours(self) -> list[Behaviour]:
        """Return everything that is normal, sorted."""
        return sorted(Behaviour(f, s) for f, subjects in self.subjects.items() for s in subjects)


def by_facet(behaviours: Iterable[Behaviour]) -> dict[Facet, frozenset[str]]:
    """Sort behaviours into `Model.subjects`."""
    found: dict[Facet, set[str]] = {}
    for facet, subject in behaviours:
        found.setdefault(facet, set()).add(subject)
    return {facet: frozenset(subjects) for facet, subjects in found.items()}


def from_message(message: pb.Model) -> Model:
    """Read a model as it travels."""
    return Model(
        message.herd,
        message.service,
        message.state,
        message.revision,
        by_facet(Behaviour(b.facet, b.subject) for b in message.behaviours),
    )


def to_message(model: Model) -> pb.Model:
    """Write a model as it travels."""
    return pb.Model(
        herd=model.herd,
        service=model.service,
        state=model.state,
        revision=model.revision,
        behaviours=[pb.Behaviour(facet=f, subject=s) for f, s in model.behaviours()],
    )
