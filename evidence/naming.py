"""Enumerations of events in words, as every answer and file says them."""

from typing import Any

from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events


def camel(text: str) -> str:
    """Return an enumeration's name in camel case: AGENT_DOWN is agentDown."""
    head, *rest = text.split("_")
    return head.lower() + "".join(part.capitalize() for part in rest)


def names(enum: Any, prefix: str) -> dict[int, str]:
    """Return number -> word for an enumeration whose names begin with `prefix`."""
    return {value: camel(name.removeprefix(prefix)) for name, value in enum.items()}


PROVENANCES = names(events.Provenance, "PROVENANCE_")
ATTRIBUTIONS = names(events.Attribution, "ATTRIBUTION_")
ORIGINS = names(delivery.Origin, "ORIGIN_")
LEVELS = names(events.Level, "LEVEL_")
OPERATIONS = names(events.FileChange.Operation, "OPERATION_")
PROTOCOLS = names(events.Protocol, "PROTOCOL_")
GAP_CAUSES = names(events.Gap.Cause, "CAUSE_")
PRECISIONS = names(events.Gap.Precision, "PRECISION_")
AGENT_STATES = names(events.AgentStatus.State, "STATE_")
EVENT_ENUMS: dict[str, dict[int, str]] = {
    events.Provenance.DESCRIPTOR.full_name: PROVENANCES,
    events.Attribution.DESCRIPTOR.full_name: ATTRIBUTIONS,
    events.Level.DESCRIPTOR.full_name: LEVELS,
    events.Protocol.DESCRIPTOR.full_name: PROTOCOLS,
    events.FileChange.Operation.DESCRIPTOR.full_name: OPERATIONS,
    events.Gap.Cause.DESCRIPTOR.full_name: GAP_CAUSES,
    events.Gap.Precision.DESCRIPTOR.full_name: PRECISIONS,
    events.AgentStatus.State.DESCRIPTOR.full_name: AGENT_STATES,
    events.AccountChange.Action.DESCRIPTOR.full_name: names(events.AccountChange.Action, "ACTION_"),
    events.AccountChange.Subject.DESCRIPTOR.full_name: names(
        events.AccountChange.Subject, "SUBJECT_"
    ),
    events.PackageChange.Action.DESCRIPTOR.full_name: names(events.PackageChange.Action, "ACTION_"),
    events.ServiceChange.Action.DESCRIPTOR.full_name: names(events.ServiceChange.Action, "ACTION_"),
    events.KernelChange.Action.DESCRIPTOR.full_name: names(events.KernelChange.Action, "ACTION_"),
}
"""Full name of an enumeration that events use -> its words."""
