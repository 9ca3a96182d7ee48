"""Programs that were requested and not executed, as events."""

from typing import Any, Final

from agent.sensors.exec_failures import Failure
from agent.stages.redact import redact
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

MOST_ARGUMENT_BYTES: Final = 4096
MOST_PATH_BYTES: Final = 4096


def told_failure(failure: Failure[Any], offset_ns: int = 0) -> events.Event:
    """Return the event of a failure, of which the times plus `offset_ns` are wall time."""
    event = events.Event(
        event_time=clock.to_timestamp(failure.first_ns + offset_ns),
        attribution=events.ATTRIBUTION_EXACT,
    )
    told = event.exec_failure
    told.requested_path, told.error = failure.path[:MOST_PATH_BYTES], failure.error
    room = MOST_ARGUMENT_BYTES
    for argument in redact(failure.arguments):
        if room <= 0:
            break
        told.arguments.append(argument[:room])
        room -= len(argument) + 1
    told.arguments_cut = failure.arguments_cut or room < 0
    if failure.count > 1:
        event.count = failure.count
        event.last_event_time.CopyFrom(clock.to_timestamp(failure.last_ns + offset_ns))
    event.cut = failure.several
    return event
