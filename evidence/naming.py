"""Enumerations of events in words, as every answer and file says them."""

from collections.abc import Iterator
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
TRAITS = names(events.Trait, "TRAIT_")


def _of(enum: Any) -> dict[int, str]:
    """Return the words of an enumeration: its zero value tells its prefix."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: camel(value.name.removeprefix(prefix)) for value in enum.values}


def _enums(within: Any) -> Iterator[Any]:
    """Yield every enumeration of a file or message, those of messages inside too."""
    yield from within.enum_types_by_name.values()
    inside = getattr(within, "message_types_by_name", None) or getattr(
        within, "nested_types_by_name", {}
    )
    for message in inside.values():
        yield from _enums(message)


EVENT_ENUMS: dict[str, dict[int, str]] = {
    enum.full_name: _of(enum) for enum in _enums(events.DESCRIPTOR)
}
"""Full name of an enumeration that events use -> its words; those of event.proto, all of them."""
