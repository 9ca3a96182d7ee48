"""Enumerations in the words of the console's contract."""

from nightherd.detector.v1 import finding_pb2 as finding
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as model


def _words(enum: object, prefix: str, separator: str = " ") -> dict[str, int]:
    return {
        name.removeprefix(prefix).lower().replace("_", separator): value
        for name, value in enum.items()  # type: ignore[attr-defined]
        if value
    }


def _camel(text: str) -> str:
    head, *rest = text.split("_")
    return head.lower() + "".join(part.capitalize() for part in rest)


ACTIVITY_TYPES = _words(finding.ActivityType, "ACTIVITY_TYPE_")
"""The contract's 15 strings, e.g. "accounts modified"."""
ACTIVITY_WORDS = {value: word for word, value in ACTIVITY_TYPES.items()}

SEVERITIES = {
    finding.SEVERITY_LOW: "low",
    finding.SEVERITY_MEDIUM: "medium",
    finding.SEVERITY_HIGH: "high",
}

MODEL_STATES = {
    _camel(name.removeprefix("MODEL_STATE_")): value
    for name, value in model.ModelState.items()
    if value
}
"""The contract's seven names, e.g. "manualLearning"."""
MODEL_WORDS = {value: word for word, value in MODEL_STATES.items()}

SETTABLE_STATES = {
    "manualLearning": model.MODEL_STATE_MANUAL_LEARNING,
    "manualRelearning": model.MODEL_STATE_MANUAL_RELEARNING,
    "manualActive": model.MODEL_STATE_MANUAL_ACTIVE,
    "active": model.MODEL_STATE_MANUAL_ACTIVE,
    "learning": model.MODEL_STATE_LEARNING,
}
"""What a person may ask for; a model that a person made active is "manualActive"."""

FACETS = {value: name.removeprefix("FACET_").lower() for name, value in model.Facet.items()}

PROVENANCES = {
    value: _camel(name.removeprefix("PROVENANCE_")) for name, value in events.Provenance.items()
}
ORIGINS = {value: name.removeprefix("ORIGIN_").lower() for name, value in delivery.Origin.items()}
LEVELS = {value: name.removeprefix("LEVEL_").lower() for name, value in events.Level.items()}
ATTRIBUTIONS = {
    value: name.removeprefix("ATTRIBUTION_").lower() for name, value in events.Attribution.items()
}
GAP_CAUSES = {
    value: _camel(name.removeprefix("CAUSE_")) for name, value in events.Gap.Cause.items()
}
PRECISIONS = {
    value: _camel(name.removeprefix("PRECISION_")) for name, value in events.Gap.Precision.items()
}
AGENT_STATES = {
    value: _camel(name.removeprefix("STATE_")) for name, value in events.AgentStatus.State.items()
}


def service_id(service: str) -> str:
    """Return a service's name as an id that fits into a path (RFC 6901 escapes)."""
    return service.replace("~", "~0").replace("/", "~1")


def service_of(identifier: str) -> str:
    """Return the service that an id names."""
    return identifier.replace("~1", "/").replace("~0", "~")
