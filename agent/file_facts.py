"""What files are part of beside their changes: reads of secrets, and mounts over watched names."""

from collections.abc import Iterable
from typing import Final

from agent.output import Output
from agent.sensors.records import MountRecord, ReadRecord
from agent.sorted_records import SortedRecords
from agent.stages.fold import Made
from agent.stages.identify import Identifier
from agent.stages.mounting import Mountings
from agent.stages.reads import Reads
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_Mount = events.MountChange
_OPERATIONS: Final = {
    "mounted": _Mount.OPERATION_MOUNTED,
    "unmounted": _Mount.OPERATION_UNMOUNTED,
    "moved": _Mount.OPERATION_MOVED,
    "bound": _Mount.OPERATION_BOUND,
    "remounted": _Mount.OPERATION_REMOUNTED,
}


def mount_change(record: MountRecord) -> events.MountChange:
    """Return what a record of a mount says, as a fact of an event."""
    return _Mount(
        operation=_OPERATIONS[record.operation],
        source=record.source,
        target=record.target,
        file_system=record.file_system,
        mount_flags=record.flags,
        watched_paths=record.watched,
    )


class FileFacts:
    """Turns records of reads and mounts into events."""

    def __init__(self, identifier: Identifier, output: Output) -> None:
        """Add events to `output`."""
        self._identifier, self._output = identifier, output
        self._reads, self._mountings = Reads(), Mountings()

    def handle(self, records: SortedRecords, closed: Iterable[str], now: int) -> None:
        """Take in the records of one tick.

        Args:
            records: After those of processes were followed.
            closed: Images that are over.
            now: On the boot clock.
        """
        for read in records.reads:
            self._read(read)
        for mount in records.mounts:
            self.mounted(self._made(mount), now)
        for exec_id in closed:
            for made in self._reads.ended(exec_id, self._output.offset_ns):
                self._output.add(made, now)

    def advance(self, now: int) -> None:
        """Tell what was collected for long enough."""
        for made in self._reads.due(now, self._output.offset_ns):
            self._output.add(made, now)
        for made in self._mountings.due(now):
            self._output.add(made, now)

    def finish(self, now: int) -> None:
        """Tell everything."""
        for made in self._reads.all(self._output.offset_ns):
            self._output.add(made, now)
        for made in self._mountings.due(now + (1 << 62)):
            self._output.add(made, now)

    def mounted(self, made: Made, now: int) -> None:
        """Take in an event of a mount: another source may know more of the same."""
        for each in self._mountings.add(made, now):
            self._output.add(each, now)

    def _read(self, record: ReadRecord) -> None:
        process = self._identifier.processes.who(record.pid)
        if process is None:
            self._reads.add(record, None, events.ATTRIBUTION_UNKNOWN)
            return
        identifier = self._identifier
        several = identifier.who_changed(process, record.boot_ns)
        since = identifier.since(record.boot_ns)
        if process.ended_ns and process.ended_ns < record.boot_ns:
            record = record._replace(boot_ns=process.ended_ns)
        sure = record.exact and len(several) == 1
        self._reads.add(
            record,
            identifier.images.refresh(process, min(since, record.boot_ns), several[0]),
            events.ATTRIBUTION_EXACT if sure else events.ATTRIBUTION_INFERRED,
            tuple(each.image.exec_id for each in several) if len(several) > 1 else (),
        )

    def _made(self, record: MountRecord) -> Made:
        process = self._identifier.processes.who(record.pid) if record.pid else None
        sure = events.ATTRIBUTION_EXACT if record.exact else events.ATTRIBUTION_INFERRED
        event = events.Event(
            event_time=clock.to_timestamp(record.boot_ns + self._output.offset_ns),
            attribution=events.ATTRIBUTION_UNKNOWN if process is None else sure,
            mount_change=mount_change(record),
        )
        ran = None
        if process is not None:
            ran = self._identifier.images.refresh(process, record.boot_ns)
        return Made(ran, event, urgent=bool(record.watched))
