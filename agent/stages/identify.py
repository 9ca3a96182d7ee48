"""Who stands behind what: puts identity on images as the kernel's records come in.

Identity is inherited at fork and changes at exec; a session, once known, sticks. See
docs/architecture.md and the proto comments for what each field means.
"""

from collections.abc import Iterator

from agent.names import UserNames
from agent.processes import Process, Processes
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages import services
from agent.stages.redact import redact
from agent.stages.scripts import script_of
from agent.stages.sessions import (
    SCHEDULED,
    UNKNOWN,
    USER_MANAGER,
    Session,
    kind_of_opener,
    provenance_of,
)
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

TICK_NS = 10_000_000
"""One clock tick (USER_HZ = 100): the unit of start times in /proc/PID/stat."""
MOST_ANCESTORS = 16
ADDRESS_WAIT_NS = 500_000_000
MOST_ARGUMENT_BYTES = 4096
MOST_COMMAND_BYTES = 512
_PACKAGE_MANAGERS = frozenset(
    b"dpkg apt apt-get aptitude unattended-upgrade unattended-upgrades rpm dnf dnf-3 dnf5 yum "
    b"zypper apk pacman packagekitd snapd".split()
)
_SYSTEM_PROGRAMS = (
    b"/usr/bin/",
    b"/usr/sbin/",
    b"/bin/",
    b"/sbin/",
    b"/usr/lib/",
    b"/usr/libexec/",
)


class Identifier:
    """Keeps the processes of this host and makes images out of records."""

    def __init__(self, boot_id: str, names: UserNames) -> None:
        """Begin knowing nobody; feed it a snapshot first."""
        self.processes = Processes()
        self.sessions: dict[int, Session] = {}
        self._led: dict[int, Session] = {}
        self._boot_id, self._names = boot_id, names
        self._wall_minus_boot_ns = 0
        self._tick = 0
        self._now_ns = 0
        self._told: list[tuple[int, Process | None, Session, bool]] = []

    def begin_tick(self, wall_minus_boot_ns: int, boot_ns: int) -> None:
        """Begin a round of records; boot time becomes wall time by adding `wall_minus_boot_ns`."""
        self._wall_minus_boot_ns = wall_minus_boot_ns
        self._tick += 1
        self._now_ns = boot_ns

    def session_news(
        self, now_ns: int = 1 << 62
    ) -> Iterator[tuple[int, Process | None, Session, bool]]:
        """Yield and forget (boot ns, process, session, ended) for sessions that have news.

        The start of an ssh session waits up to half a second for the client's address: a login
        without it is of little use, and what is sealed does not change.
        """
        told, self._told = self._told, []
        said: set[int] = set()
        for news in told:
            boot_ns, _, session, ended = news
            if not ended and session.awaits_address and now_ns - boot_ns < ADDRESS_WAIT_NS:
                self._told.append(news)
            elif ended or session.session_id not in said:
                said.add(session.session_id)
                yield news

    # -- records ---------------------------------------------------------------------------------

    def snapshot(self, records: list[ProcessRecord]) -> None:
        """Learn the processes that ran before the agent, parents before children."""
        by_pid = {record.pid: record for record in records}
        done: set[int] = set()

        def learn(record: ProcessRecord) -> None:
            chain = []
            at: ProcessRecord | None = record
            while at is not None and at.pid not in done:
                done.add(at.pid)
                chain.append(at)
                at = by_pid.get(at.ppid)
            for each in reversed(chain):
                self._preexisting(each)

        for record in records:
            learn(record)

    def fork(self, record: ProcessRecord) -> Process:
        """A process was forked: it inherits."""
        parent = self.processes.get(record.ppid)
        process = self._forked(record, parent)
        self._follow_session(process, record, parent, record.ppid)
        self.processes.add(process)
        return process

    def exec(self, record: ProcessRecord) -> Process:
        """A process runs a program: a new image."""
        process = self.processes.get(record.pid)
        if process is None or abs(process.start_ns - record.start_ns) > TICK_NS:
            # Its fork was not seen (lost, or before the agent).
            process = self._forked(record, self.processes.get(record.ppid))
            self.processes.add(process)
        # Of a mere fork nobody asked about, only its id may matter.
        before = process.image if process.executed or not process.ancestors else None
        opener = process
        process.parent_pid = record.ppid
        process.terminal = record.terminal
        process.session_leader = record.session_leader
        process.cgroup = record.cgroup if record.cgroup not in ("", "/") else process.cgroup
        self._follow_session(process, record, opener, record.pid)
        if before is not None and before.executable and process.executed:
            process.ancestors = (_ancestor(before), *process.ancestors)[:MOST_ANCESTORS]
        script = script_of(
            record.executable, record.arguments, record.requested_path, record.working_directory
        )
        process.program = script or record.executable
        process.maintenance = process.maintenance or _is_package_manager(process.program)
        self._name_service(process, rooted=self._heads_itself(process))
        process.image = self._image(
            process, record, script, before.exec_id if before is not None else ""
        )
        if process.candidates_tick != self._tick:
            # What it ran until now may have done what this tick's file events tell.
            process.candidates = [before] if before is not None and process.executed else []
            process.candidates_tick = self._tick
        process.candidates.append(process.image)
        process.executed, process.executable = True, record.executable
        return process

    def exit(self, record: ProcessRecord) -> Process | None:
        """A process ended."""
        process = self.processes.get(record.pid)
        if process is None:
            return None
        for child in self.processes.end(process, record.boot_ns):
            self._orphaned(child, process)
        self._end_sessions(process, record.boot_ns)
        return process

    def images_this_tick(self, process: Process) -> list[events.Image]:
        """Return what a process ran within this tick, when that is more than one image."""
        several = process.candidates_tick == self._tick and len(process.candidates) > 1
        return process.candidates if several else []

    # -- identity --------------------------------------------------------------------------------

    def _forked(self, record: ProcessRecord, parent: Process | None) -> Process:
        process = Process(
            pid=record.pid,
            start_ns=record.start_ns,
            parent_pid=record.ppid,
            session_leader=record.session_leader,
            terminal=record.terminal,
        )
        if parent is not None:
            process.session = parent.session
            process.service = parent.service
            process.cgroup = parent.cgroup
            process.maintenance = parent.maintenance
            process.program = parent.program
            process.login_user_id = parent.login_user_id
            process.audit_session_id = parent.audit_session_id
            process.executable = parent.executable
            if parent.executable:
                process.ancestors = (_ancestor(parent.image), *parent.ancestors)[:MOST_ANCESTORS]
        above = parent.image if parent is not None else None
        offset = self._wall_minus_boot_ns
        process.make_image = lambda: self._fork_image(process, record, above, offset)
        return process

    def _fork_image(
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

    def _image(
        self, process: Process, record: ProcessRecord, script: bytes, before: str
    ) -> events.Image:
        arguments, cut = _bounded(redact(record.arguments))
        image = events.Image(
            exec_id=self._exec_id(record.pid, record.start_ns, record.boot_ns),
            parent_exec_id=process.ancestors[0].exec_id if process.ancestors else before,
            pid=record.pid,
            ppid=record.ppid,
            start_time=clock.to_timestamp(record.boot_ns + self._wall_minus_boot_ns),
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
            alive_ns=self._now_ns,
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
            alive_ns=process.ended_ns or self._now_ns,
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

    # -- sessions --------------------------------------------------------------------------------

    def _follow_session(
        self, process: Process, record: ProcessRecord, opener: Process | None, leader_pid: int
    ) -> None:
        """Join the audit session the kernel names; what the process was in before sticks."""
        if UNSET_ID in (record.session_id, record.login_user_id):
            # Root can unset its own login: the process keeps what it had.
            return
        session = self.sessions.get(record.session_id)
        if session is None:
            executable = opener.executable if opener is not None else b""
            kind = kind_of_opener(executable)
            if kind == UNKNOWN and process.session is not None:
                # Written by hand within a session: not a login. The person behind it stays.
                return
            session = Session(
                record.session_id,
                record.login_user_id,
                executable,
                kind,
                leader_pid,
                record.boot_ns,
            )
            self.sessions[record.session_id] = self._led[leader_pid] = session
            self._told.append((record.boot_ns, process, session, False))
        process.session = session
        process.login_user_id = session.login_user_id
        process.audit_session_id = session.session_id
        if record.terminal and not session.terminal:
            session.terminal = record.terminal
            self._told.append((record.boot_ns, process, session, False))

    def address_known(self, session_id: int, address: str, boot_ns: int) -> None:
        """Note where a session came from (it becomes known late)."""
        session = self.sessions.get(session_id)
        if session is not None and address and session.source_address != address:
            session.source_address = address
            self._told.append((boot_ns, self.processes.get(session.leader_pid), session, False))

    def _end_sessions(self, process: Process, boot_ns: int) -> None:
        """End the session that `process` led: its monitor often is not in it by any record."""
        session = self._led.pop(process.pid, None)
        if session is not None and not session.over:
            session.over, session.over_ns = True, boot_ns
            self._told.append((boot_ns, process, session, True))

    def forget(self, boot_ns: int) -> None:
        """Forget processes and sessions that nothing can refer to any more."""
        self.processes.forget(boot_ns)
        if len(self.sessions) > 1000:  # noqa: PLR2004
            used = {id(process.session) for process in self.processes}
            for key, session in list(self.sessions.items()):
                if session.over and id(session) not in used:
                    del self.sessions[key]

    # -- services --------------------------------------------------------------------------------

    def _heads_itself(self, process: Process) -> bool:
        """Whether the process was left to PID 1 in a POSIX session of its own."""
        if process.parent_pid != 1 or process.terminal or process.pid == 1:
            return False
        leader = process.session_leader
        return leader == process.pid or self.processes.get(leader) is None

    def _name_service(self, process: Process, *, rooted: bool) -> None:
        unit = services.unit_of(process.cgroup)
        if unit is not None:
            process.service = unit
        elif process.session is not None and process.session.kind == SCHEDULED:
            process.service = _as_service(process.session.opener)
        elif process.session is not None and process.session.kind != USER_MANAGER:
            process.service = ""
        elif process.pid == 1 or (rooted and process.session is None):
            process.service = _as_service(process.program)

    def _orphaned(self, child: Process, parent: Process) -> None:
        """A parent ended: a child in a POSIX session of its own was made a daemon."""
        if child.session is not None or child.terminal or not child.executable:
            return
        daemonised = child.session_leader in (child.pid, parent.pid)
        if daemonised and services.unit_of(child.cgroup) is None:
            service = _as_service(child.program)
            if service != child.service:
                child.service = service
                for grandchild in self._below(child):
                    grandchild.service = service

    def _below(self, process: Process) -> list[Process]:
        """Return living descendants that inherited the process's service meanwhile."""
        below, todo = [], [process.pid]
        while todo:
            pid = todo.pop()
            for other in self.processes:
                if other.parent_pid == pid and other.pid != pid and other not in below:
                    below.append(other)
                    todo.append(other.pid)
        return below

    # -- before the agent ------------------------------------------------------------------------

    def _preexisting(self, record: ProcessRecord) -> None:
        parent = self.processes.get(record.ppid)
        process = self._forked(record, parent)
        process.cgroup = record.cgroup if record.cgroup != "/" else ""
        if UNSET_ID not in (record.session_id, record.login_user_id):
            session = self.sessions.get(record.session_id)
            if session is None:
                above = parent.executable if parent is not None else b""
                kind = kind_of_opener(record.executable)
                leader = record.pid
                if kind == UNKNOWN and kind_of_opener(above) != UNKNOWN:
                    kind, leader = kind_of_opener(above), record.ppid
                session = Session(
                    record.session_id,
                    record.login_user_id,
                    record.executable if leader == record.pid else above,
                    kind,
                    leader,
                    record.start_ns,
                    preexisting=True,
                )
                self.sessions[record.session_id] = self._led[leader] = session
                self._told.append((record.boot_ns, process, session, False))
            session.terminal = session.terminal or record.terminal
            process.session = session
            process.login_user_id = session.login_user_id
            process.audit_session_id = session.session_id
        if record.executable:
            script = script_of(
                record.executable, record.arguments, record.requested_path, record.working_directory
            )
            process.program = script or record.executable
            process.maintenance = process.maintenance or _is_package_manager(process.program)
        else:
            script = b""
            # PID 1 of a container or a small VM may hide its file; its first argument names it.
            named = record.arguments[0] if record.arguments else b""
            process.program = named if named.startswith(b"/") else b""
        orphan = record.ppid == 1 and not record.terminal
        self._name_service(process, rooted=orphan and record.session_leader == record.pid)
        process.image = self._image(process, record, script, process.image.parent_exec_id)
        process.executed, process.executable = True, record.executable
        self.processes.add(process)


def _as_service(program: bytes) -> str:
    return program.decode("utf-8", "backslashreplace")


def _is_package_manager(program: bytes) -> bool:
    return program.startswith(_SYSTEM_PROGRAMS) and program.rpartition(b"/")[2] in _PACKAGE_MANAGERS


def _ancestor(image: events.Image) -> events.Ancestor:
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
