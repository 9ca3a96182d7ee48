"""Images: what a process runs, with who stands behind it, as the contract words it."""

from agent.names import UserNames
from agent.processes import Process
from agent.sensors.records import ProcessRecord
from agent.stages import services
from agent.stages.redact import redact
from agent.stages.sessions import provenance_of
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

TICK_NS = 10_000_000
"""One clock tick (USER_HZ = 100): the unit of start times in /proc/PID/stat."""
MOST_ARGUMENT_BYTES = 4096
MOST_COMMAND_BYTES = 512


class Images:
    """Makes images of one boot of this host."""

    def __init__(self, boot_id: str, names: UserNames) -> None:
        """Name users by `names`."""
        self._boot_id, self._names = boot_id, names
        self.wall_minus_boot_ns = 0
        self.now_ns = 0

    def of_fork(
        self,
        process: Process,
        record: ProcessRecord,
        above: events.Image | None,
        offset_ns: int,
    ) -> events.Image:
        """Return the image of a process that still runs its parent's program, `above`."""
        image = events.Image(
            exec_id=self._exec_id(record.pid, record.start_ns, record.boot_ns),
            pid=record.pid,
            ppid=record.ppid,
            start_time=clock.to_timestamp(record.boot_ns + offset_ns),
            user_id=record.user_id,
            effective_user_id=record.effective_user_id,
            user=self._names[record.effective_user_id],
            terminal=record.terminal,
        )
        if above is not None:
            image.parent_exec_id = above.exec_id
            image.executable = above.executable
            image.arguments.extend(above.arguments)
            image.arguments_cut = above.arguments_cut
            image.working_directory = above.working_directory
            image.script = above.script
        self._stand_behind(process, image)
        return image

    def of_exec(
        self, process: Process, record: ProcessRecord, script: bytes, before: str
    ) -> events.Image:
        """Return the image of a program that was executed; `before` is what ran until then."""
        arguments, cut = _bounded(redact(record.arguments))
        image = events.Image(
            exec_id=self._exec_id(record.pid, record.start_ns, record.boot_ns),
            parent_exec_id=process.ancestors[0].exec_id if process.ancestors else before,
            pid=record.pid,
            ppid=record.ppid,
            start_time=clock.to_timestamp(record.boot_ns + self.wall_minus_boot_ns),
            executable=record.executable,
            arguments=arguments,
            arguments_cut=cut or record.arguments_cut,
            working_directory=record.working_directory,
            script=script,
            user_id=record.user_id,
            effective_user_id=record.effective_user_id,
            user=self._names[record.effective_user_id],
            terminal=record.terminal,
        )
        self._stand_behind(process, image)
        return image

    def _stand_behind(self, process: Process, image: events.Image) -> None:
        """Fill in who stands behind `image`: session, provenance, service, ancestors."""
        session = process.session
        if process.login_user_id is not None:
            image.login_user_id = process.login_user_id
            image.login_user = self._names[process.login_user_id]
        if process.audit_session_id is not None:
            image.session_id = process.audit_session_id
        if session is not None:
            image.source_address = session.source_address
        image.provenance = provenance_of(
            session,
            process.terminal,
            user_unit=services.is_user_unit(process.cgroup),
            alive_ns=self.now_ns,
        )
        image.service = process.service
        image.cgroup = process.cgroup
        image.container_id = services.container_of(process.cgroup)
        image.maintenance = process.maintenance
        image.ancestors.extend(process.ancestors)

    def refresh(self, process: Process) -> events.Image:
        """Return the process's image with what became true since (DETACHED, address)."""
        image = process.image
        provenance = provenance_of(
            process.session,
            process.terminal,
            user_unit=services.is_user_unit(process.cgroup),
            alive_ns=process.ended_ns or self.now_ns,
        )
        stale = (
            image.provenance != provenance
            or image.service != process.service
            or (
                process.session is not None
                and process.session.source_address != image.source_address
            )
        )
        if stale:
            fresh = events.Image()
            fresh.CopyFrom(image)
            fresh.provenance = provenance
            fresh.service = process.service
            if process.session is not None:
                fresh.source_address = process.session.source_address
            process.image = fresh
        return process.image

    def _exec_id(self, pid: int, start_ns: int, boot_ns: int) -> str:
        return f"{self._boot_id}:{pid}:{start_ns // TICK_NS}:{boot_ns}"


def ancestor_of(image: events.Image) -> events.Ancestor:
    """Return `image` as it stands above others, short."""
    return events.Ancestor(
        exec_id=image.exec_id,
        pid=image.pid,
        executable=image.executable,
        script=image.script,
        command=b" ".join(image.arguments)[:MOST_COMMAND_BYTES],
    )


def _bounded(arguments: list[bytes]) -> tuple[list[bytes], bool]:
    """Cut arguments to the limit of the contract."""
    total = 0
    for place, argument in enumerate(arguments):
        total += len(argument) + 1
        if total > MOST_ARGUMENT_BYTES:
            room = MOST_ARGUMENT_BYTES - (total - len(argument) - 1)
            return [*arguments[:place], argument[: max(room, 0)]], True
    return arguments, False
