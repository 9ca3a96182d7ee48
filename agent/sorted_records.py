"""The records of one tick, by what they are."""

from collections.abc import Iterable

from agent.sensors.records import (
    AuditRecord,
    FileRecord,
    KernelRecord,
    LossRecord,
    MountRecord,
    ProcessRecord,
    ReadRecord,
    Record,
    SocketRecord,
)


class SortedRecords:
    """The records of one tick, by what they are: who comes before what they did."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Sort `records`; each list keeps their order."""
        self.before: list[ProcessRecord] = []
        self.processes: list[ProcessRecord | KernelRecord | SocketRecord] = []
        """With what the kernel saw them do meanwhile, in the order in which it happened."""
        self.files: list[FileRecord] = []
        self.reads: list[ReadRecord] = []
        self.mounts: list[MountRecord] = []
        self.sockets: list[SocketRecord] = []
        self.audit: list[AuditRecord] = []
        self.losses: list[LossRecord] = []
        for record in records:
            if isinstance(record, ProcessRecord):
                (self.before if record.kind == "snapshot" else self.processes).append(record)
            elif isinstance(record, FileRecord):
                self.files.append(record)
            elif isinstance(record, ReadRecord):
                self.reads.append(record)
            elif isinstance(record, MountRecord):
                self.mounts.append(record)
            elif isinstance(record, KernelRecord):
                self.processes.append(record)
            elif isinstance(record, SocketRecord):
                (self.processes if record.exact else self.sockets).append(record)
            elif isinstance(record, AuditRecord):
                self.audit.append(record)
            else:
                self.losses.append(record)
