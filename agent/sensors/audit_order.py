"""File changes and executions in one order, where two sources tell them at different speeds.

On a busy host audit's records come up to a second after what they tell. A file change is therefore
held until the executions before it are known: until a record bears a later time, or the kernel has
no more. Executions that are later than the files read so far wait for those read next.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from agent.sensors.audit import AuditSensor
from agent.sensors.audit_processes import AuditedProcesses
from agent.sensors.fanotify import FanotifySensor
from agent.sensors.records import (
    AuditRecord,
    FileRecord,
    LossRecord,
    ProcessRecord,
    ReadRecord,
    Record,
)
from agent.sensors.watchlist import WatchList

PATIENCE_NS: Final = 2_000_000_000
"""How long a change is held; then it is told with who is known."""
GRAIN_NS: Final = 6_000_000
"""Records bear times as coarse as the kernel's tick (4 ms), cut to milliseconds."""


@dataclass(slots=True)
class _Round:
    """The changes of one look."""

    until_ns: int
    files: list[FileRecord | ReadRecord]


class Order:
    """What waits to be told."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._rounds: deque[_Round] = deque()
        self._told: list[tuple[int, Record]] = []
        """(When it happened, record) of audit, as they came."""
        self._before_ns = 0
        self.opened = True

    @property
    def waits_for_audit(self) -> bool:
        """Whether changes are held until more is known."""
        return any(each.files for each in self._rounds)

    def pids(self) -> set[int]:
        """Return who changed what is held."""
        return {file.pid for each in self._rounds for file in each.files}

    def add_files(self, files: list[FileRecord | ReadRecord], until_ns: int) -> None:
        """Hold changes that were read by `until_ns`."""
        self._rounds.append(_Round(until_ns, files))

    def add_told(self, records: list[Record], wall_minus_boot_ns: int) -> None:
        """Hold what audit told."""
        latest_ns = self._rounds[-1].until_ns if self._rounds else 0
        for record in records:
            if isinstance(record, AuditRecord):
                self._told.append((record.wall_ns - wall_minus_boot_ns, record))
            elif isinstance(record, ProcessRecord) and record.kind == "fork":
                # Found by looking: it was there before the look, whatever its coarse time says.
                self._told.append((min(record.boot_ns, latest_ns), record))
            else:
                self._told.append((record.boot_ns, record))
        self._told.sort(key=_time)

    def due(self, known_until_ns: int, now_ns: int) -> list[Record]:
        """Return what can be told: everything before `known_until_ns` came."""
        due: list[Record] = []
        while self._rounds:
            each = self._rounds[0]
            known = known_until_ns >= each.until_ns + GRAIN_NS
            if each.files and not known and now_ns - each.until_ns < PATIENCE_NS:
                break
            self._rounds.popleft()
            blurred = self._executed_near(self._before_ns) | self._executed_near(each.until_ns)
            due += [record for at_ns, record in self._told if at_ns <= each.until_ns]
            self._told = [told for told in self._told if told[0] > each.until_ns]
            due += [
                file._replace(exact=False) if file.pid in blurred else file for file in each.files
            ]
            self._before_ns = each.until_ns
        return due

    def _executed_near(self, moment_ns: int) -> set[int]:
        """Return who may have changed its program on either side of a look."""
        return {
            record.pid
            for at_ns, record in self._told
            if isinstance(record, ProcessRecord)
            and record.kind == "exec"
            and abs(at_ns - moment_ns) <= GRAIN_NS
        }

    def all(self) -> list[Record]:
        """Return, and hold no more, everything."""
        due: list[Record] = [record for _, record in self._told]
        due += [file for each in self._rounds for file in each.files]
        self._told, self._rounds = [], deque()
        return due


def _time(told: tuple[int, Record]) -> int:
    return told[0]


class HeldFiles(FanotifySensor):
    """Changes of files, told by `OrderedAudit` when their time has come.

    Args:
        watch_list: See FanotifySensor.
        order: Where to hold them.
        own_pid: See FanotifySensor.
    """

    def __init__(self, watch_list: WatchList, order: Order, *, own_pid: int | None = None) -> None:
        """Mark what exists."""
        super().__init__(watch_list, own_pid=own_pid)
        self._order = order

    def drain(self) -> list[Record]:
        """See Sensor."""
        records = super().drain()
        if not self._order.opened:  # audit failed: nobody else would tell them
            return [*self._order.all(), *records]
        files = [record for record in records if isinstance(record, FileRecord | ReadRecord)]
        self._order.add_files(files, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        return [record for record in records if not isinstance(record, FileRecord | ReadRecord)]


class OrderedAudit:
    """Audit's records, and the changes of files among them."""

    name = AuditSensor.name

    def __init__(self, audit: AuditSensor, order: Order) -> None:
        """Tell both in order. Drain it after the files."""
        self._audit, self._order = audit, order

    def drain(self) -> list[Record]:
        """See Sensor."""
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall_minus_boot_ns = time.time_ns() - now_ns
        waits = self._order.waits_for_audit
        nothing_waits = waits and self._audit.has_told_all()
        at_once: list[Record] = []
        told: list[Record] = []
        for record in self._audit.drain():
            (at_once if isinstance(record, LossRecord) else told).append(record)
        processes = self._audit.processes
        if waits and processes is not None:
            told = [*processes.glimpses(self._order.pids()), *told]
        self._order.add_told(told, wall_minus_boot_ns)
        until_ns = now_ns + GRAIN_NS if nothing_waits else self._audit.told_until_ns
        due = self._order.due(until_ns, now_ns)
        if waits and processes is not None:
            due = [_as_sure(record, processes) for record in due]
        return [*due, *at_once]

    def close(self) -> None:
        """See Sensor."""
        self._order.opened = False
        self._audit.close()


def _as_sure(record: Record, processes: AuditedProcesses) -> Record:
    """Return a change as exact as it is known who made it."""
    if isinstance(record, FileRecord | ReadRecord) and processes.only_forked(record.pid):
        return record._replace(exact=False)
    return record
