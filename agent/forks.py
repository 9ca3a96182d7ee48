"""Images that only forked: told when something else names them, with their end.

Most forks execute a program before they do anything, and nobody asks about them. One that does
something itself, or whose child executes, is an image of its own: what names it must lead to it.
"""

from collections.abc import Iterator

from agent.processes import Process
from agent.sensors.records import ProcessRecord
from agent.stages.fold import Made
from chassis import clock
from nightherd.event.v1 import event_pb2 as events


def named(process: Process, offset_ns: int) -> Iterator[tuple[Made, Process]]:
    """Yield the forks that an event of `process` makes known, an upper one before a lower one.

    Args:
        process: who is named, itself or by what it executed.
        offset_ns: what makes boot time wall time.
    """
    for each in process.untold:
        yield from _told(each, offset_ns)
    process.untold = ()
    if not process.executed:
        yield from _told(process, offset_ns)


def _told(process: Process, offset_ns: int) -> Iterator[tuple[Made, Process]]:
    if process.fork_told:
        return
    process.fork_told = True
    event = events.Event(attribution=events.ATTRIBUTION_EXACT)
    time = event.event_time
    time.seconds, time.nanos = divmod(process.start_ns + offset_ns, clock.NS)
    event.fork.SetInParent()
    yield Made(process.ran, event, urgent=False, kind="fork"), process


def is_told(process: Process, end: ProcessRecord) -> bool:
    """Whether the end of a process is to be told; one that was not told of keeps its end."""
    if process.executed or process.fork_told:
        return True
    process.end = end
    return False
