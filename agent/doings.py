"""What processes did by the kernel's own word, as events of somebody.

Records come among those of processes in the order in which it happened: whoever has the pid at that
moment did it, whatever it executes later within the same tick.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from agent import forks, kernel_events
from agent.datagrams import Questions
from agent.file_facts import mount_change
from agent.lines import Ran
from agent.output import Output
from agent.processes import Process
from agent.sensors.records import (
    FileRecord,
    KernelRecord,
    ProcessRecord,
    SocketRecord,
)
from agent.stages.fold import Made
from agent.stages.gains import Gains
from agent.stages.identify import Identifier
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_MOST_REMEMBERED: Final = 1024

Collect = Callable[[FileRecord, Ran | None, int], None]
Exited = Callable[[ProcessRecord, Ran, int], None]
Mounted = Callable[[Made, int], None]


class Doings:
    """Turns what the kernel saw processes do into events."""

    def __init__(
        self,
        identifier: Identifier,
        output: Output,
        collect: Collect,
        exited: Exited,
        mounted: Mounted,
    ) -> None:
        """Add events to `output`; hand on changes of files, ends of forks, and mounts."""
        self._identifier, self._output = identifier, output
        self._collect, self._exited, self._mounted = collect, exited, mounted
        self._questions = Questions()
        self._gains = Gains()
        self._own_pid = os.getpid()
        self._modes: OrderedDict[tuple[int, bytes], FileRecord] = OrderedDict()
        self.tells: frozenset[str] = frozenset()

    def know(self, tells: frozenset[str]) -> None:
        """Learn what the kernel's checkpoints tell on this host; see BpfSensor.tells."""
        self.tells = tells
        self._gains.calls_seen = "users" in tells

    def replaces(self, audit_kind: str) -> bool:
        """Whether a checkpoint tells what audit records of this type tell."""
        return kernel_events.REPLACED.get(audit_kind, "") in self.tells

    # -- who -------------------------------------------------------------------------------------

    def named(self, process: Process, now: int, at_ns: int, ran: Ran | None = None) -> Ran:
        """Return what a process runs, for an event that names it. Forks are told before.

        Args:
            process: who it is.
            now: on the boot clock.
            at_ns: moment of the event, as of which provenance is stated.
            ran: the image that it names; None: what the process runs.
        """
        if process.untold or not (process.executed or process.fork_told):
            self.tell_forks(process, now)
        return self._identifier.images.refresh(process, at_ns, ran)

    def tell_forks(self, process: Process, now: int) -> None:
        """Tell of the forks that lead to a process of which is told, and of their ends."""
        for made, forked in forks.named(process):
            self._output.add(made, now)
            if forked.end is not None:
                end, forked.end = forked.end, None
                self._exited(end, forked.ran, now)

    def tell_fork(self, ran: Ran, now: int) -> None:
        """Tell of a fork whose image may be named, although it executed another soon."""
        self._output.add(forks.made_of(ran), now)

    # -- processes -------------------------------------------------------------------------------

    def forked(self, record: ProcessRecord, now: int) -> None:
        """Look at who forked."""
        parent = self._identifier.processes.get(record.ppid)
        if parent is not None and (gain := self._gains.seen(parent, record)):
            self._gained(parent, gain, record.boot_ns, now)

    def executed(self, process: Process, record: ProcessRecord, program: bytes, now: int) -> None:
        """Look at a process that executed a program and ran `program` until then."""
        if gain := self._gains.executed(process, record, program):
            self._gained(process, gain, record.boot_ns, now)

    def ended(self, process: Process, record: ProcessRecord, now: int) -> bool:
        """Look at a process that ended; whether that is to be told."""
        if gain := self._gains.seen(process, record):
            self._gained(process, gain, record.boot_ns, now)
        return forks.is_told(process, record)

    def _gained(self, process: Process, gain: events.PrivilegeGain, boot_ns: int, now: int) -> None:
        event = self._event(boot_ns, exact=True)
        event.privilege_gain.CopyFrom(gain)
        self._output.add(Made(self.named(process, now, boot_ns), event, urgent=True), now)

    # -- what they did ---------------------------------------------------------------------------

    def handle(self, record: KernelRecord | SocketRecord, now: int) -> None:
        """Tell what a process did."""
        if record.pid == self._own_pid:  # shipping must not cause what it ships
            return
        process = self._identifier.processes.who(record.pid)
        if isinstance(record, SocketRecord):
            self._socket(record, process, now)
        elif record.kind == "user":
            before, user, _, _ = record.numbers
            if process is not None and (gain := self._gains.called(process, before, user)):
                self._gained(process, gain, record.boot_ns, now)
        elif record.kind in kernel_events.FILE_KINDS:
            file = kernel_events.file_of(record)
            self._modes[file.pid, file.path] = file
            if len(self._modes) > _MOST_REMEMBERED:
                self._modes.popitem(last=False)
            self._collect(file, self._ran(process, now, record.boot_ns), now)
        else:
            self._did(record, process, now)

    def _did(self, record: KernelRecord, process: Process | None, now: int) -> None:
        event = self._event(record.boot_ns, exact=process is not None)
        mount = record.kind in kernel_events.MOUNT_KINDS
        if mount:
            event.mount_change.CopyFrom(mount_change(kernel_events.mount_of(record)))
        else:
            kernel_events.tell(event, record)
        if event.WhichOneof("kind") == "process_access":
            self._target(event.process_access, now, record.boot_ns)
        if process is None:
            event.attribution = events.ATTRIBUTION_UNKNOWN
        ran = self._ran(process, now, record.boot_ns)
        made = Made(ran, event, record.kind in kernel_events.URGENT)
        if mount:
            self._mounted(made, now)
        else:
            self._output.add(made, now)

    def is_told(self, record: FileRecord) -> bool:
        """Whether a change of a file was told already, by whoever saw it happen."""
        if record.operation != "attributes":
            return False
        told = self._modes.get((record.pid, record.path))
        return told is not None and (told.mode, told.owner_id, told.group_id) == (
            record.mode,
            record.owner_id,
            record.group_id,
        )

    def advance(self, now: int) -> None:
        """Tell what was collected for long enough."""
        for made in self._questions.due(now):
            self._output.add(made, now)

    def finish(self, now: int) -> None:
        """Tell everything."""
        for made in self._questions.all():
            self._output.add(made, now)

    def _socket(self, record: SocketRecord, process: Process | None, now: int) -> None:
        event = self._event(record.boot_ns, exact=record.exact)
        if process is None:
            event.attribution = events.ATTRIBUTION_UNKNOWN
        kernel_events.tell_socket(event, record)
        made = Made(self._ran(process, now, record.boot_ns), event)
        for each in self._questions.add(record, made):
            self._output.add(each, now)

    def _target(self, access: events.ProcessAccess, now: int, at_ns: int) -> None:
        target = self._identifier.processes.who(access.target_pid)
        if target is not None:
            image = self.named(target, now, at_ns).image
            access.target_exec_id = image.exec_id
            access.target_executable = image.executable
            if not access.HasField("target_user_id"):
                access.target_user_id = image.effective_user_id

    def _ran(self, process: Process | None, now: int, at_ns: int) -> Ran | None:
        return self.named(process, now, at_ns) if process is not None else None

    def _event(self, boot_ns: int, *, exact: bool) -> events.Event:
        event = events.Event()
        event.attribution = events.ATTRIBUTION_EXACT if exact else events.ATTRIBUTION_INFERRED
        time = event.event_time
        time.seconds, time.nanos = divmod(boot_ns + self._output.offset_ns, clock.NS)
        return event
