"""From when until when nobody watched: an agent that stops notes how far it had seen."""

import json
from pathlib import Path
from typing import NamedTuple

import structlog

from agent.spool import Spool
from agent.stages import budget, fold, guess
from chassis import clock
from chassis.files import replace
from nightherd.event.v1 import event_pb2 as events

log = structlog.get_logger()
FILE = "stopped"
MOST_BYTES = 256
HELD_NS = max(guess.WAIT_NS + fold.MERGE_NS, budget.TELL_NS)
"""How long an event may be held back in memory while later ones are sealed: what a killed agent
may have had."""
READING_NS = 50_000_000
"""How late a source may hand over what happened: a record may be under way while sources are read
for the last time."""


class Stopped(NamedTuple):
    """Where an agent was when it stopped in order."""

    number: int
    """The last batch it sealed; with any other as the newest this says nothing."""
    boot_id: str
    boot_ns: int
    """Everything until then was read, by the boot clock."""
    wall_ns: int
    """The same by the wall clock, for another boot."""


def note(folder: Path, number: int, boot_ns: int, offset_ns: int) -> None:
    """Note that everything until `boot_ns` is in the batches until `number`."""
    seen = boot_ns - READING_NS
    stopped = Stopped(number, clock.boot_id(), seen, seen + offset_ns)
    try:
        replace(folder / FILE, json.dumps(stopped).encode())
    except OSError as error:  # then the gap begins earlier than it need
        log.warning("where the agent stopped is not noted", error=str(error))


def gaps(folder: Path, spool: Spool, seeing_ns: int) -> list[events.Event]:
    """Return what is missing from before: the time without an agent, and the spool's torn end.

    Args:
        folder: the agent's own.
        spool: as it was opened.
        seeing_ns: since when the sensors see (boot clock).
    """
    end = seeing_ns + clock.wall_minus_boot_ns()
    found = []
    if spool.link.number:
        start, detail = _start(folder, spool)
        found.append(_gap(events.Gap.CAUSE_AGENT_DOWN, start, end, "agent", detail))
    if spool.torn_bytes:
        detail = f"{spool.torn_bytes} bytes at the end of the spool were torn and are left out."
        found.append(_gap(events.Gap.CAUSE_SPOOL_DAMAGE, spool.last_event_ns, end, "spool", detail))
    return found


def _start(folder: Path, spool: Spool) -> tuple[int, str]:
    """Return since when nobody watched (wall clock), in words too.

    After a kill that is when the newest batch was sealed, less what may have been held back.
    """
    stopped = _noted(folder)
    if stopped is None or stopped.number != spool.link.number:
        return spool.last_event_ns - HELD_NS, "The agent did not run; it did not stop in order."
    if stopped.boot_id != clock.boot_id():
        return stopped.wall_ns, "The agent did not run."
    return stopped.boot_ns + clock.wall_minus_boot_ns(), "The agent did not run."


def _gap(
    cause: "events.Gap.Cause.ValueType", start_ns: int, end_ns: int, source: str, detail: str
) -> events.Event:
    return events.Event(
        gap=events.Gap(
            cause=cause,
            # A clock that was set back over another boot tells no start.
            start_time=clock.to_timestamp(min(start_ns, end_ns)),
            end_time=clock.to_timestamp(end_ns),
            precision=events.Gap.PRECISION_UNKNOWN,
            source=source,
            detail=detail,
        )
    )


def _noted(folder: Path) -> Stopped | None:
    try:
        with (folder / FILE).open("rb") as file:
            number, boot_id, boot_ns, wall_ns = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, TypeError):
        return None
    numbers = (number, boot_ns, wall_ns)
    if not isinstance(boot_id, str) or any(type(each) is not int for each in numbers):
        return None
    return Stopped(number, boot_id, boot_ns, wall_ns)
