"""Images that only forked: told when something else names them, with their end.

Most forks execute a program before they do anything, and nobody asks about them. One that does
something itself, or whose child executes, is an image of its own: what names it must lead to it.
"""

from collections.abc import Iterator

from agent.lines import Ran
from agent.processes import Process
from agent.sensors.records import ProcessRecord
from agent.stages.fold import Made
from nightherd.event.v1 import event_pb2 as events


def named(process: Process) -> Iterator[tuple[Made, Process]]:
    """Yield the forks that an event of `process` makes known, an upper one before a lower one."""
    for each in process.untold:
        yield from _told(each)
    process.untold = ()
    if not process.executed:
        yield from _told(process)


def _told(process: Process) -> Iterator[tuple[Made, Process]]:
    if process.fork_told:
        return
    process.fork_told = True
    yield made_of(process.ran), process


def made_of(ran: Ran) -> Made:
    """Return the event of a fork, of which `ran` is the image."""
    event = events.Event(event_time=ran.image.start_time, attribution=events.ATTRIBUTION_EXACT)
    event.fork.SetInParent()
    return Made(ran, event, urgent=False, kind="fork")


def is_told(process: Process, end: ProcessRecord) -> bool:
    """Whether the end of a process is to be told; one that was not told of keeps its end."""
    if process.executed or process.fork_told:
        return True
    process.end = end
    return False
