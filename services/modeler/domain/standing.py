"""Where a model stands: what the modeler keeps about it beside the behaviours themselves."""

from dataclasses import dataclass, field

from behaviour.model import State
from nightherd.modeler.v1 import model_pb2 as pb
from services.modeler.domain.maturity import Maturity


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of one (herd, service).

    Attributes:
        herd: the herd.
        service: the service.
        state: where it is in its life.
        revision: global revision at which it last changed; 0: no detector was told of it yet.
        frozen: number of the frozen revision in force; 0: none.
        state_ns: when the state last changed, wall ns.
        changed_by: who set the state; empty: the rule.
        maturity: as it was judged last.
        told_count: how many behaviours there were when detectors were told last.
    """

    herd: str
    service: str
    state: State = pb.MODEL_STATE_LEARNING
    revision: int = 0
    frozen: int = 0
    state_ns: int = 0
    changed_by: str = ""
    maturity: Maturity = field(default_factory=Maturity)
    told_count: int = 0
