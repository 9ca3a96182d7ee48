"""File changes by the thousand: is each told, and is it told who made it."""

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass

from agent.stages.guess import WAIT_NS
from benchmarks.live_agent import LiveAgent, Told
from benchmarks.loads import Loads
from nightherd.event.v1 import event_pb2 as events

FILES_A_WRITER = 5
CHANGES_A_FILE = 3
"""Created, modified, deleted."""
_OPERATIONS = frozenset(
    (
        events.FileChange.OPERATION_CREATED,
        events.FileChange.OPERATION_MODIFIED,
        events.FileChange.OPERATION_DELETED,
    )
)


@dataclass(slots=True)
class Written:
    """What became of the changes of short-lived writers."""

    made: int
    seconds: float
    cpu_percent: float
    right: int = 0
    """Told with who made it, for sure."""
    guessed: int = 0
    """Told with the right actor, as a guess."""
    wrong: int = 0
    """Told with another actor than the one whose number and pid are in the name."""
    nobody: int = 0
    """Told without an actor."""
    gaps: int = 0

    @property
    def untold(self) -> int:
        """Not told at all."""
        return self.made - self.right - self.guessed - self.wrong - self.nobody


def write(agent: LiveAgent, loads: Loads, changes_a_second: float, seconds: float) -> Written:
    """Let short-lived writers change files, and compare who is said to have made each change."""
    folder = agent.watched / "written"
    folder.mkdir(exist_ok=True)
    agent.settle()
    meter = agent.meter()
    ran = loads.write(
        changes_a_second / FILES_A_WRITER / CHANGES_A_FILE, seconds, folder, FILES_A_WRITER
    )
    told = agent.settle()
    made = ran.count * FILES_A_WRITER * CHANGES_A_FILE
    return judge(told, bytes(folder) + b"/", Written(made, ran.seconds, meter.percent(ran.seconds)))


def judge(told: Told, within: bytes, written: Written) -> Written:
    """Count the changes in folder `within` by whether their actor is the one in the name."""
    seen: set[tuple[bytes, int]] = set()
    for image, event in told:
        written.gaps += event.HasField("gap")
        for change in event.file_change.changes:
            which = (change.path, change.operation)
            if not change.path.startswith(within) or change.operation not in _OPERATIONS:
                continue
            if which in seen:
                continue
            seen.add(which)
            number, pid, _ = change.path.removeprefix(within).split(b".")
            if not image.exec_id:
                written.nobody += 1
            elif image.pid != int(pid) or image.arguments[-1] != number:
                written.wrong += 1
            elif event.attribution != events.ATTRIBUTION_EXACT:
                written.guessed += 1
            else:
                written.right += 1
    return written


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of files that were removed as fast as it goes."""

    count: int
    seconds: float
    told: int
    """Of these, told to be gone, as it happened or by looking again after a gap."""
    gaps: tuple[events.Gap, ...]

    @property
    def unaccounted(self) -> int:
        """Files that are gone and not told to be: a gap alone does not say which."""
        return self.count - self.told


def remove(agent: LiveAgent, loads: Loads, count: int, *, stalled: bool = False) -> Removed:
    """Remove `count` files that the agent knows; `stalled`: while it does not get to run."""
    folder = agent.watched / "removed"
    folder.mkdir(exist_ok=True)
    agent.settle()
    loads.make(folder, count)
    agent.settle()
    with agent.stalled() if stalled else nullcontext():
        ran = loads.remove(folder, count)
    told = agent.settle()
    if any(event.HasField("gap") for _, event in told):
        # What is found by looking again waits for a guess at who did it, before it is told.
        time.sleep(2 * WAIT_NS / 1e9)
        told += agent.settle()
    gone = {
        change.path
        for _, event in told
        for change in event.file_change.changes
        if change.operation == events.FileChange.OPERATION_DELETED
    }
    wanted = {bytes(folder) + b"/%d" % number for number in range(count)}
    gaps = tuple(event.gap for _, event in told if event.HasField("gap"))
    return Removed(count, ran.seconds, len(wanted & gone), gaps)


def deepen(agent: LiveAgent, depth: int) -> None:
    """Make folder in folder, as anybody can who owns one that is watched, and take them out."""
    top = agent.watched / "deep"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        at, above = os.open("d", os.O_RDONLY, dir_fd=at), at
        os.close(above)
    os.close(at)
    agent.settle()
    while (top / "d" / "d").is_dir():
        (top / "d" / "d").rename(top / "e")
        (top / "d").rmdir()
        (top / "e").rename(top / "d")
    agent.settle()
