"""System calls of an audit log, as events of those who called."""

import re
from typing import Final

from agent.failed_execs import told_failure
from agent.lines import Ran
from agent.logged_names import LoggedNames
from agent.logged_processes import LoggedProcesses
from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import (
    Call,
    arguments_of,
    call_of,
    is_thread,
    requested_path_of,
)
from agent.sensors.audit_files import files_of
from agent.sensors.audit_numbers import EXECS, FORKS, SOCKETS
from agent.sensors.audit_sockets import Sockets, connection_of
from agent.sensors.exec_failures import ExecFailures, Failure, error_of
from agent.stages.fold import FileChanges, Made
from agent.stages.identify import Identifier
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

_EXECVE: Final = "EXECVE"
_TELLS: Final = frozenset((_EXECVE, "PATH", "SOCKADDR"))
"""Types of records that say what a system call did."""
_SUCCESS: Final = b" success=yes "
_SUCCESS_WITHIN: Final = 80
_HEAD = re.compile(rb'arch=(\w+) syscall=(\d+)(?: per=\w+)? success="?(\w+)')
_KNOWN: Final = events.ATTRIBUTION_EXACT
_PROTOCOLS: Final = {"tcp": events.PROTOCOL_TCP, "udp": events.PROTOCOL_UDP}


class LoggedCalls:
    """The calls of one boot."""

    def __init__(
        self, identifier: Identifier, processes: LoggedProcesses, names: LoggedNames
    ) -> None:
        """Lay calls to `processes`."""
        self._identifier, self._processes, self._names = identifier, processes, names
        self._sockets = Sockets()
        self._files = FileChanges()
        self._failures = ExecFailures[Ran]()

    def told(self, event: KernelEvent, made: list[Made]) -> bool:
        """Add what an event's system call did to `made`; whether it did something."""
        text = event.texts[event.kinds.index("SYSCALL")]
        if _EXECVE in event.kinds and _SUCCESS in text[:_SUCCESS_WITHIN]:
            call = call_of(event)
            if call is None or not call.succeeded:
                return False
            self._names.learn(text)
            return self._executed(event, call, made)
        head = _HEAD.match(text)
        if head is None:  # in another order than the kernel's
            call = call_of(event)
            return call is not None and self._is_told(text, call, event, made)
        architecture, number, success = head.groups()
        key = architecture, number
        if success == b"yes":
            wanted = not _TELLS.isdisjoint(event.kinds) or key in FORKS or key in SOCKETS
        else:
            # A connection in progress is called a failure.
            wanted = key in EXECS or "SOCKADDR" in event.kinds
        call = call_of(event) if wanted else None
        return call is not None and self._is_told(text, call, event, made)

    def due(self, wall_ns: int) -> list[Made]:
        """Return what was collected for a second."""
        return [*self._files.due(wall_ns), *_failed(self._failures.due(wall_ns))]

    def all(self) -> list[Made]:
        """Return what was collected."""
        return [*self._files.all(), *_failed(self._failures.all())]

    def _is_told(self, text: bytes, call: Call, event: KernelEvent, made: list[Made]) -> bool:
        self._names.learn(text)
        key = call.architecture, call.number
        if call.succeeded and _EXECVE in event.kinds:
            return self._executed(event, call, made)
        if key in EXECS:
            return not call.succeeded and self._not_executed(event, call, made)
        if key in FORKS:
            return self._forked(call, event.wall_ns)
        if key in SOCKETS:
            return self._sockets.made(call)
        return self._connected(event, call, made) or self._changed(event, call, made)

    def _executed(self, event: KernelEvent, call: Call, made: list[Made]) -> bool:
        before = self._identifier.processes.get(call.pid)
        ran = before.known_ran if before is not None else None
        forked = before is not None and not before.executed
        executed = self._processes.executed(event, call)
        if executed is None:
            return False
        process, program = executed
        if ran is not None:
            if len(self._files):
                made += self._files.ended(ran.image.exec_id)
            if len(self._failures):
                self._failures.executed(_who(forked, ran), program.requested_path)
        told = _event(event.wall_ns)
        told.exec.requested_path = program.requested_path
        made.append(Made(process.ran, told, kind="exec"))
        return True

    def _not_executed(self, event: KernelEvent, call: Call, made: list[Made]) -> bool:
        arguments, cut = arguments_of(event) if _EXECVE in event.kinds else ((), False)
        process = self._processes.caller(call, event.wall_ns)
        ran = self._identifier.images.refresh(process, event.wall_ns)
        failure = Failure(
            ran,
            requested_path_of(event),
            error_of(call.result),
            event.wall_ns,
            event.wall_ns,
            arguments,
            cut,
        )
        made += _failed(self._failures.add(_who(not process.executed, ran), failure))
        return True

    def _forked(self, call: Call, wall_ns: int) -> bool:
        if not call.succeeded or not call.result.isdigit() or is_thread(call):
            return False
        self._processes.forked(call, int(call.result[:10]), wall_ns)
        return True

    def _connected(self, event: KernelEvent, call: Call, made: list[Made]) -> bool:
        connection = connection_of(event, call, self._sockets)
        if connection is None:
            return False
        told = _event(event.wall_ns)
        told.connect.protocol = _PROTOCOLS.get(connection.protocol, events.PROTOCOL_UNSPECIFIED)
        told.connect.remote_address = connection.remote_address
        told.connect.remote_port = connection.remote_port
        process = self._processes.caller(call, event.wall_ns)
        made.append(
            Made(self._identifier.images.refresh(process, event.wall_ns), told, kind="connect")
        )
        return True

    def _changed(self, event: KernelEvent, call: Call, made: list[Made]) -> bool:
        changes = list(files_of(event, call))
        if not changes:
            return False
        process = self._processes.caller(call, event.wall_ns)
        ran = self._identifier.images.refresh(process, event.wall_ns)
        for change in changes:
            full = self._files.add(change, ran, event.wall_ns, attribution=_KNOWN, urgent=False)
            if full is not None:
                made.append(full)
        return True


def _who(forked: bool, ran: Ran) -> str:  # noqa: FBT001  (one meaning)
    """Return whose request it is: children that only forked request on behalf of their parent."""
    return (ran.image.parent_exec_id if forked else "") or ran.image.exec_id


def _failed(failures: list[Failure[Ran]]) -> list[Made]:
    return [Made(each.who, told_failure(each), kind="exec_failure") for each in failures]


def _event(wall_ns: int) -> events.Event:
    event = events.Event()
    event.attribution = _KNOWN
    event.event_time.seconds, event.event_time.nanos = divmod(wall_ns, clock.NS)
    return event
