"""What no source tells here, concluded from the programs that ran. Each says INFERRED."""

from collections.abc import Iterator
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from agent.lines import Ran
from agent.processes import Process, Processes
from agent.sensors.records import AuditRecord, ProcessRecord
from agent.stages import modules
from agent.stages.fold import Made
from agent.stages.privileges import gives_rights, is_helper
from nightherd.event.v1 import event_pb2 as events

_MOST_REMEMBERED: Final = 256
_Key = TypeVar("_Key", str, bytes)


class Inferences:
    """Follows programs of which it is known what it means that they ran."""

    def __init__(self, processes: Processes) -> None:
        """Look for parents in `processes`."""
        self._processes = processes
        self._told: dict[str, None] = {}
        """What gave rights and was told, by its exec_id."""
        self._module_pids: dict[bytes, None] = {}
        """Processes of which an audit record told that they changed the kernel."""

    def noted(self, record: AuditRecord) -> None:
        """Learn what needs no conclusion."""
        if record.kind == "KERN_MODULE":
            _remember(self._module_pids, record.fields.get("pid", b""))

    def of_exec(self, process: Process, time: Timestamp) -> Made | None:
        """What sudo or su starts says whose rights it gave: they start nothing when they refuse.

        To be asked only where no audit record tells.
        """
        if process.above is None:
            return None
        above = process.above.ancestor
        image = process.image
        if not gives_rights(above.executable) or is_helper(image.executable):
            return None
        if gives_rights(image.executable) and image.executable == above.executable:
            return None  # its own helper; what that starts is told
        outermost = above
        for each in process.above:
            if each.executable != above.executable:
                break
            outermost = each
        if outermost.exec_id in self._told:
            return None
        _remember(self._told, outermost.exec_id)
        parent = self._processes.who(process.parent_pid)
        actor = parent.ran if parent is not None and gives_rights(parent.executable) else None
        if actor is None or actor.image.executable != above.executable:
            # It became what it started, without a fork.
            ran = [r for r in process.candidates if r.image.executable == above.executable]
            actor = ran[-1] if ran else process.ran
        use = events.PrivilegeUse(command=b" ".join(image.arguments), target_user=image.user)
        return Made(actor, _event(time, privilege_use=use), urgent=True)

    def of_exit(self, record: ProcessRecord, ran: Ran, time: Timestamp) -> Iterator[Made]:
        """A command that loads or unloads kernel modules and succeeded did so, if nobody told."""
        image = ran.image
        name = image.executable.rpartition(b"/")[2]
        if name not in modules.PROGRAMS or record.exit_status:
            return
        if self._module_pids.pop(b"%d" % record.pid, 0) is None:
            return
        for change in modules.changes_of(image.executable, image.arguments):
            yield Made(ran, _event(time, kernel_change=change), urgent=True)


def _event(time: Timestamp, **kind: object) -> events.Event:
    return events.Event(event_time=time, attribution=events.ATTRIBUTION_INFERRED, **kind)  # type: ignore[arg-type]


def _remember(known: dict[_Key, None], key: _Key) -> None:
    known[key] = None
    if len(known) > _MOST_REMEMBERED:
        del known[next(iter(known))]
