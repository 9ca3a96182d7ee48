"""Images: what a process runs, with who stands behind it, as the contract words it."""

from functools import lru_cache
from pathlib import Path

from agent.containers import ContainerImages
from agent.lines import Ran
from agent.names import Names
from agent.owners import Owners
from agent.processes import TICK_NS, Process
from agent.sensors.records import ProcessRecord
from agent.stages import services
from agent.stages.redact import redact
from agent.stages.sessions import provenance_of
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

MOST_ARGUMENT_BYTES = 4096
LEAST_ARGUMENT_BYTES = 512
"""A receiver that takes less is not heeded: what it asks for must not blind the others."""
MOST_BEHIND = 1000
_TEMPORARY = (b"/tmp/", b"/var/tmp/")
_SHARED_MEMORY = b"/dev/shm/"
_OF_AN_EXECUTION = frozenset({events.TRAIT_SET_USER_ID})
"""Traits of a program's start that its forks do not have."""


class Images:
    """Makes images of one boot of this host."""

    def __init__(self, boot_id: str, names: Names) -> None:
        """Name users by `names`."""
        self._boot_id, self._names = boot_id, names
        self.owners = Owners()
        self.containers = ContainerImages()
        self.wall_minus_boot_ns = 0
        self.host_mount_namespace = mount_namespace_of("1") or mount_namespace_of("self")
        """That of PID 1; ours where that is not for us to see."""
        self._most_argument_bytes = MOST_ARGUMENT_BYTES
        # Who stands behind images is often the same: it is made once, and read from bytes for
        # each, which costs a quarter of building it.
        self._behind: dict[tuple[object, ...], bytes] = {}

    def limit(self, arguments_size_bytes: int) -> None:
        """Say no more arguments than a receiver takes; 0: it did not say."""
        if arguments_size_bytes > 0:
            least = max(arguments_size_bytes, LEAST_ARGUMENT_BYTES)
            self._most_argument_bytes = min(self._most_argument_bytes, least)

    def of_fork(
        self,
        process: Process,
        record: ProcessRecord,
        above: events.Image | None,
        offset_ns: int,
    ) -> Ran:
        """Return the image of a process that still runs its parent's program, `above`."""
        image = self._stood_behind(process, record)
        _set_time(image, record.boot_ns + offset_ns)
        if above is not None:
            image.parent_exec_id = above.exec_id
            image.executable = above.executable
            image.arguments.extend(above.arguments)
            image.arguments_cut = above.arguments_cut
            image.working_directory = above.working_directory
            image.script = above.script
            image.package = above.package
            image.device, image.inode = above.device, above.inode
            image.mount_namespace = above.mount_namespace
            image.traits.extend(each for each in above.traits if each not in _OF_AN_EXECUTION)
        image.traits.append(events.TRAIT_FORKED)
        image.traits.sort()
        return Ran(image, process.above)

    def of_exec(self, process: Process, record: ProcessRecord, script: bytes, before: str) -> Ran:
        """Return the image of a program that was executed; `before` is what ran until then."""
        arguments, cut = _bounded(redact(record.arguments), self._most_argument_bytes)
        image = self._stood_behind(process, record)
        _set_time(image, record.boot_ns + self.wall_minus_boot_ns)
        above = process.above
        image.parent_exec_id = above.ancestor.exec_id if above is not None else before
        image.executable = record.executable
        image.arguments.extend(arguments)
        if cut or record.arguments_cut:
            image.arguments_cut = True
        image.working_directory = record.working_directory
        if script:
            image.script = script
        if not image.container_id:  # its files are not this host's packages'
            image.package = self.owners.owner(record.executable)
        if record.inode:
            image.device, image.inode = record.device, record.inode
            image.mount_namespace = record.mount_namespace
        if traits := self._traits(record):
            image.traits.extend(traits)
        return Ran(image, above)

    def _traits(self, record: ProcessRecord) -> tuple["events.Trait.ValueType", ...]:
        """Return what is noteworthy about how a program runs."""
        bits = record.traits
        if record.mount_namespace and self.host_mount_namespace not in (0, record.mount_namespace):
            bits |= 1 << events.TRAIT_OTHER_MOUNT_NAMESPACE
        if record.executable.startswith(_TEMPORARY):
            bits |= 1 << events.TRAIT_TEMPORARY_FILE
        elif record.executable.startswith(_SHARED_MEMORY):
            bits |= 1 << events.TRAIT_SHARED_MEMORY_FILE
        return _listed(bits) if bits else ()

    def _stood_behind(self, process: Process, record: ProcessRecord) -> events.Image:
        """Return an image that says who it is and who stands behind it: all but the program."""
        session = process.session
        place = services.place_of(process.cgroup)
        provenance = _provenance(process, record.boot_ns)
        effective = record.effective_user_id
        key = (
            record.user_id,
            effective,
            self._names[effective],
            record.terminal,
            process.login_user_id,
            "" if process.login_user_id is None else self._names[process.login_user_id],
            process.audit_session_id,
            session.source_address if session is not None else "",
            provenance,
            process.service,
            process.cgroup,
            process.maintenance,
            process.born.SerializeToString() if process.born is not None else b"",
        )
        known = self._behind.get(key)
        if known is None:
            if len(self._behind) >= MOST_BEHIND:
                self._behind.clear()
            behind = self._behind_anew(process, record, provenance, place)
            known = self._behind[key] = behind.SerializeToString()
        image = events.Image.FromString(known)
        image.exec_id = self._exec_id(record.pid, record.start_ns, record.boot_ns)
        image.pid = record.pid
        image.ppid = record.ppid
        if place.container_id:
            image.container_image = self.containers[place.container_id]
        return image

    def _behind_anew(
        self,
        process: Process,
        record: ProcessRecord,
        provenance: "events.Provenance.ValueType",
        place: services.Place,
    ) -> events.Image:
        session = process.session
        image = events.Image(
            user_id=record.user_id,
            effective_user_id=record.effective_user_id,
            user=self._names[record.effective_user_id],
            terminal=record.terminal,
            provenance=provenance,
            service=process.service,
            cgroup=process.cgroup,
            container_id=place.container_id,
            maintenance=process.maintenance,
            born_from=process.born,
        )
        if process.login_user_id is not None:
            image.login_user_id = process.login_user_id
            image.login_user = self._names[process.login_user_id]
        if process.audit_session_id is not None:
            image.session_id = process.audit_session_id
        if session is not None:
            image.source_address = session.source_address
        return image

    def refresh(self, process: Process, at_ns: int, ran: Ran | None = None) -> Ran:
        """Return what the process ran with what became true since (DETACHED, address).

        Args:
            process: who did something.
            at_ns: when (boot clock): with that it is decided whether its session was over.
            ran: what it ran then; None: what it runs now.
        """
        now = ran is None or ran is process.known_ran
        ran = process.ran if ran is None else ran
        image = ran.image
        at_ns = max(at_ns, began_of(image))
        if process.ended_ns:
            at_ns = min(at_ns, process.ended_ns)
        place = services.place_of(process.cgroup)
        provenance = _provenance(process, at_ns)
        session = process.session
        from_image = self.containers[place.container_id] if place.container_id else ""
        stale = (
            image.provenance != provenance
            or (now and (image.service != process.service))
            or (now and image.maintenance != process.maintenance)
            or (from_image and image.container_image != from_image)
            or (session is not None and session.source_address != image.source_address)
            or (now and process.born is not None and not image.HasField("born_from"))
        )
        if stale:
            fresh = events.Image()
            fresh.CopyFrom(image)
            fresh.provenance = provenance
            fresh.container_image = from_image or image.container_image
            if session is not None:
                fresh.source_address = session.source_address
            if now:
                fresh.service = process.service
                fresh.maintenance = process.maintenance
                if process.born is not None:
                    fresh.born_from.CopyFrom(process.born)
            ran = Ran(fresh, ran.above)
            if now:
                process.known_ran = ran
                if process.history:
                    process.history[-1] = (process.history[-1][0], ran)
        return ran

    def _exec_id(self, pid: int, start_ns: int, boot_ns: int) -> str:
        return f"{self._boot_id}:{pid}:{start_ns // TICK_NS}:{boot_ns}"


def began_of(image: events.Image) -> int:
    """Return when an image began (boot clock), as its exec_id says."""
    return int(image.exec_id.rpartition(":")[2] or 0)


def _provenance(process: Process, at_ns: int) -> "events.Provenance.ValueType":
    """Return the provenance of a process as of a moment (boot clock)."""
    session = process.session
    return provenance_of(
        session,
        process.terminal,
        user_unit=services.runs_as_user_unit(process.cgroup, in_session=session is not None),
        alive_ns=at_ns,
        terminal_is_service=process.terminal_is_service,
        put_there=process.put_there,
    )


def mount_namespace_of(pid: str) -> int:
    """Return the number of a process's mount namespace; 0: not ours to see."""
    try:
        return Path(f"/proc/{pid}/ns/mnt").stat().st_ino
    except OSError:
        return 0


@lru_cache(maxsize=1024)
def _listed(bits: int) -> tuple["events.Trait.ValueType", ...]:
    return tuple(trait for trait in events.Trait.values() if bits >> trait & 1)


def _set_time(image: events.Image, wall_ns: int) -> None:
    time = image.start_time
    time.seconds, time.nanos = divmod(wall_ns, clock.NS)


def _bounded(arguments: list[bytes], most: int) -> tuple[list[bytes], bool]:
    """Cut arguments to `most` bytes."""
    if sum(map(len, arguments)) + len(arguments) <= most:
        return arguments, False
    total = 0
    for place, argument in enumerate(arguments):
        total += len(argument) + 1
        if total > most:
            room = most - (total - len(argument))
            return [*arguments[:place], argument[: max(room, 0)]], True
    return arguments, False
