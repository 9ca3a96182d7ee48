"""Enumerations in the words of the console's contract."""

from evidence.naming import (
    AGENT_STATES,
    ATTRIBUTIONS,
    GAP_CAUSES,
    LEVELS,
    ORIGINS,
    PRECISIONS,
    PROVENANCES,
    camel,
)
from nightherd.detector.v1 import finding_pb2 as finding
from nightherd.modeler.v1 import model_pb2 as model
from nightherd.store.v1 import store_service_pb2 as store

__all__ = [
    "ACTIVITY_TYPES",
    "ACTIVITY_WORDS",
    "AGENT_STATES",
    "ATTRIBUTIONS",
    "FACETS",
    "GAP_CAUSES",
    "INCIDENT_STATES",
    "INCIDENT_WORDS",
    "LEVELS",
    "MODEL_STATES",
    "MODEL_WORDS",
    "ORIGINS",
    "PRECISIONS",
    "PROVENANCES",
    "SETTABLE_STATES",
    "SEVERITIES",
    "service_id",
    "service_of",
]


def _words(enum: object, prefix: str, separator: str = " ") -> dict[str, int]:
    return {
        name.removeprefix(prefix).lower().replace("_", separator): value
        for name, value in enum.items()  # type: ignore[attr-defined]
        if value
    }


ACTIVITY_TYPES = _words(finding.ActivityType, "ACTIVITY_TYPE_")
"""The contract's 15 strings, e.g. "accounts modified"."""
ACTIVITY_WORDS = {value: word for word, value in ACTIVITY_TYPES.items()}

SEVERITIES = {
    finding.SEVERITY_LOW: "low",
    finding.SEVERITY_MEDIUM: "medium",
    finding.SEVERITY_HIGH: "high",
}

INCIDENT_STATES = _words(store.IncidentState, "INCIDENT_STATE_")
INCIDENT_WORDS = {value: word for word, value in INCIDENT_STATES.items()}

MODEL_STATES = {
    camel(name.removeprefix("MODEL_STATE_")): value
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


def service_id(service: str) -> str:
    """Return a service's name as an id that fits into a path (RFC 6901 escapes)."""
    return service.replace("~", "~0").replace("/", "~1")


def service_of(identifier: str) -> str:
    """Return the service that an id names."""
    return identifier.replace("~1", "/").replace("~0", "~")
