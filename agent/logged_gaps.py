"""What is missing in an audit log, and why: not written, dropped, or not there any more.

The daemon says when it ends and begins; who switches audit off is in the log as well. Numbers that
no record bears beside that were lost on the way, or were removed from the log.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.sensors.audit_serials import Hole
from agent.stages.fold import Made
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_Gap = events.Gap
SAYS: Final = frozenset(
    ("DAEMON_START", "DAEMON_END", "DAEMON_ABORT", "CONFIG_CHANGE", "KERNEL", "DAEMON_ERR")
)
"""Types of records that say why something is missing."""
_ENDS: Final = ("DAEMON_END", "DAEMON_ABORT")
_ENABLED = re.compile(rb'\baudit_enabled="?(\d)\b')
_LOST = re.compile(rb"\baudit_lost=(\d{1,10})\b")
MOST_WINDOWS: Final = 256
_KEPT_WINDOWS: Final = 16
_NOT_RUNNING: Final = "No audit daemon ran to write what happened."
_NOT_ENDED: Final = "The audit daemon had not ended in order when it began anew."
_OFF: Final = "Audit was switched off."
_DROPPED: Final = "The kernel had no room for records of the audit system."
_MISSING: Final = "Numbers of the log that no record bears: lost on the way, or removed from it."


@dataclass(slots=True, eq=False)
class _Window:
    """A time for which nothing was written."""

    since_ns: int
    until_ns: int
    detail: str
    lost: int = 0
    looked: bool = False
    """Whether holes were asked for since: those in it are known the next time."""


class LoggedGaps:
    """Knows when nobody wrote the log."""

    def __init__(self) -> None:
        """Begin with a log that is whole."""
        self.lost = 0
        """Events of the kernel that no record bears."""
        self._windows: list[_Window] = []
        self._told: list[_Window] = []
        self._drops: list[tuple[int, int, int]] = []
        self._ended_ns = self._off_ns = self._before_ns = 0
        self._runs = False
        self._kernel_lost = self._well_ns = 0

    def note(self, kind: str, text: bytes, wall_ns: int, before_ns: int) -> bool:
        """Note what a record says; whether it is about something that is missing.

        Args:
            kind: type of the record.
            text: of it.
            wall_ns: its time.
            before_ns: time of what was written before it; 0: nothing.
        """
        self._before_ns = before_ns
        if kind in _ENDS:
            self._ended_ns, self._runs = wall_ns, False
            return True
        if kind == "DAEMON_START":
            return self._started(wall_ns)
        enabled = _ENABLED.search(text) if kind == "CONFIG_CHANGE" else None
        if enabled is not None:
            return self._switched(wall_ns, on=enabled[1] != b"0")
        lost = _LOST.search(text)
        if lost is None:
            return False
        count = int(lost[1])
        # It counts from the boot on: less than before is another boot.
        new = count - self._kernel_lost if count >= self._kernel_lost else count
        if new and len(self._drops) < MOST_WINDOWS:
            self._drops.append((self._well_ns or wall_ns, wall_ns, new))
        self._kernel_lost, self._well_ns = count, wall_ns
        return True

    def _started(self, wall_ns: int) -> bool:
        since_ns = self._ended_ns or self._before_ns
        known = self._ended_ns or self._runs
        if known and since_ns:
            self._missed(since_ns, wall_ns, _NOT_RUNNING if self._ended_ns else _NOT_ENDED)
        self._ended_ns, self._runs = 0, True
        self._switched(wall_ns, on=True)
        return bool(known)

    def _switched(self, wall_ns: int, *, on: bool) -> bool:
        if not on:
            self._off_ns = self._off_ns or wall_ns
        elif self._off_ns:
            self._missed(self._off_ns, wall_ns, _OFF)
            self._off_ns = 0
        else:
            return False
        return True

    def _missed(self, since_ns: int, until_ns: int, detail: str) -> None:
        if len(self._windows) < MOST_WINDOWS:
            self._windows.append(_Window(since_ns, max(since_ns, until_ns), detail))

    def made(self, holes: list[Hole], until_ns: int, *, last: bool = False) -> Iterator[Made]:
        """Yield gaps: of holes in the serials, each with its cause, and of what is known beside.

        Args:
            holes: which nobody asked about yet.
            until_ns: how far the log was read.
            last: whether the log, or a boot, ends here.
        """
        missing: list[Hole] = []
        late: dict[int, tuple[_Window, int]] = {}
        for hole in holes:
            self.lost += hole.serials
            window = next((each for each in self._windows if _is_in(hole, each)), None)
            if window is not None:
                window.lost += hole.serials
            elif told := next((each for each in self._told if _is_in(hole, each)), None):
                late[id(told)] = told, late.get(id(told), (told, 0))[1] + hole.serials
            else:
                missing.append(hole)
        for told, serials in late.values():
            yield _gap(_Gap.CAUSE_AGENT_DOWN, told.since_ns, told.until_ns, told.detail, serials)
        for since_ns, dropped_ns, count in self._drops:
            yield _gap(_Gap.CAUSE_KERNEL_DROP, since_ns, dropped_ns, _DROPPED, count)
        self._drops.clear()
        if missing:
            yield _gap(
                _Gap.CAUSE_LOG_HOLE,
                missing[0].since_ns,
                missing[-1].until_ns,
                _MISSING,
                sum(hole.serials for hole in missing),
            )
        yield from self._ready(until_ns, last=last)

    def _ready(self, until_ns: int, *, last: bool) -> Iterator[Made]:
        """Yield windows that were there when holes were last asked for: all in them are known."""
        if last and self._off_ns:
            if until_ns > self._off_ns:
                self._missed(self._off_ns, until_ns, _OFF)
            self._off_ns = 0  # the next boot begins with what its rules say
        waiting = []
        for window in self._windows:
            if not (last or window.looked):
                window.looked = True
                waiting.append(window)
                continue
            lost = window.lost or None
            yield _gap(_Gap.CAUSE_AGENT_DOWN, window.since_ns, window.until_ns, window.detail, lost)
            self._told = [*self._told, window][-_KEPT_WINDOWS:]
        self._windows = waiting


def _is_in(hole: Hole, window: _Window) -> bool:
    """Whether a hole may be of a time for which nothing was written."""
    return hole.since_ns <= window.until_ns and hole.until_ns >= window.since_ns


def _gap(
    cause: "_Gap.Cause.ValueType", since_ns: int, until_ns: int, detail: str, lost: int | None
) -> Made:
    event = events.Event(
        event_time=clock.to_timestamp(since_ns),
        gap=_Gap(
            cause=cause,
            start_time=clock.to_timestamp(since_ns),
            end_time=clock.to_timestamp(until_ns),
            precision=_Gap.PRECISION_UNKNOWN if lost is None else _Gap.PRECISION_EXACT,
            lost=lost or 0,
            source="audit",
            detail=detail,
        ),
    )
    return Made(None, event, kind="gap")
