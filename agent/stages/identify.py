"""Who stands behind what: puts identity on images as the kernel's records come in.

Identity is inherited at fork and changes at exec; a session, once known, sticks. See
docs/architecture.md and the proto comments for what each field means.
"""

from functools import partial

from agent.lines import Line, Ran, below
from agent.names import Names
from agent.processes import MOST_UNTOLD, Process, Processes
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages import maintenance, services
from agent.stages.images import TICK_NS, Images
from agent.stages.scripts import script_of
from agent.stages.session_book import SessionBook
from agent.stages.sessions import SCHEDULED, USER_MANAGER


class Identifier:
    """Keeps the processes of this host and makes images out of records."""

    def __init__(self, boot_id: str, names: Names) -> None:
        """Begin knowing nobody; feed it a snapshot first."""
        self.processes = Processes()
        self.book = SessionBook(self.processes)
        self.images = Images(boot_id, names)
        self._tick = 0
        self._since_ns = 0
        """When the last tick began: what this one's records tell of happened since."""

    def begin_tick(self, wall_minus_boot_ns: int, boot_ns: int) -> None:
        """Begin a round of records; boot time becomes wall time by adding `wall_minus_boot_ns`."""
        self.images.wall_minus_boot_ns = wall_minus_boot_ns
        self._tick += 1
        self._since_ns, self.images.now_ns = self.images.now_ns, boot_ns

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
                self.preexisting(each)

        for record in records:
            learn(record)

    def fork(self, record: ProcessRecord) -> Process:
        """A process was forked: it inherits."""
        parent = self.processes.get(record.ppid)
        process = self._forked(record, parent)
        if record.session_id != UNSET_ID or process.session is not None:
            self.book.follow(process, record, parent, record.ppid)
        self.processes.add(process)
        return process

    def exec(self, record: ProcessRecord) -> Process:
        """A process runs a program: a new image."""
        process = self.processes.get(record.pid)
        unseen = process is None or abs(process.start_ns - record.start_ns) > TICK_NS
        if process is None or unseen:
            # Its fork was not seen (lost, or before the agent).
            process = self._forked(record, self.processes.get(record.ppid))
            self.processes.add(process)
        # Of a mere fork nobody asked about, only its id may matter.
        acted = process.executed or process.fork_told
        before = process.ran if acted or (process.above is None and not unseen) else None
        opener = process
        process.parent_pid = record.ppid
        process.terminal = record.terminal
        process.session_leader = record.session_leader
        process.cgroup = record.cgroup if record.cgroup not in ("", "/") else process.cgroup
        if record.session_id != UNSET_ID or process.session is not None:
            self.book.follow(process, record, opener, record.pid)
        if before is not None and before.image.executable and acted:
            process.above = _below(process)
        process.below = None
        script = script_of(
            record.executable, record.arguments, record.requested_path, record.working_directory
        )
        process.program = script or record.executable
        self._note_maintenance(process, record)
        self._name_service(process, rooted=self._heads_itself(process))
        process.known_ran = self.images.of_exec(
            process, record, script, before.image.exec_id if before is not None else ""
        )
        if process.candidates_tick != self._tick:
            # What it ran until now may have done what this tick's file events tell.
            process.candidates = [before] if before is not None and acted else []
            process.candidates_tick = self._tick
        process.candidates.append(process.known_ran)
        process.executed, process.executable = True, record.executable
        return process

    def exit(self, record: ProcessRecord) -> Process | None:
        """A process ended."""
        process = self.processes.get(record.pid)
        if process is None:
            return None
        for child in self.processes.end(process, record.boot_ns):
            self._orphaned(child, process)
        self.book.end(process, record.boot_ns)
        return process

    def images_this_tick(self, process: Process) -> list[Ran]:
        """Return what ran with a process's pid within this tick, when it is more than one image."""
        now = process.candidates_tick == self._tick
        before = process.predecessor
        if before is not None and before.ended_ns > self._since_ns:
            ran = before.candidates if before.candidates_tick == self._tick else [before.ran]
            return [*ran, *(process.candidates if now else [process.ran])]
        return process.candidates if now and len(process.candidates) > 1 else []

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
            process.kernel_login = parent.kernel_login
            process.executable = parent.executable
            process.users = parent.users
            if not (parent.executed or parent.fork_told):
                process.untold = (*parent.untold, parent)[-MOST_UNTOLD:]
            if parent.executable:
                process.above = _below(parent)
        above = parent.image if parent is not None else None
        process.make_ran = partial(
            self.images.of_fork,
            record=record,
            above=above,
            offset_ns=self.images.wall_minus_boot_ns,
        )
        return process

    def forget(self, boot_ns: int) -> None:
        """Forget processes and sessions that nothing can refer to any more."""
        self.processes.forget(boot_ns)
        self.book.forget()

    # -- services --------------------------------------------------------------------------------

    def _heads_itself(self, process: Process) -> bool:
        """Whether the process was left to PID 1 in a POSIX session of its own."""
        if process.parent_pid != 1 or process.terminal or process.pid == 1:
            return False
        leader = process.session_leader
        return leader == process.pid or self.processes.get(leader) is None

    def _name_service(self, process: Process, *, rooted: bool) -> None:
        unit = services.place_of(process.cgroup).unit
        if unit is not None:
            process.service = unit
        elif process.session is not None and process.session.kind == SCHEDULED:
            process.service = _as_service(process.session.opener)
        elif process.session is not None and process.session.kind != USER_MANAGER:
            process.service = ""
        elif process.pid == 1 or (rooted and process.session is None):
            process.service = _as_service(process.program)

    def _note_maintenance(self, process: Process, record: ProcessRecord) -> None:
        if process.maintenance or record.effective_user_id != 0:
            return
        if maintenance.has_name(process.program):
            in_container = bool(services.place_of(process.cgroup).container_id)
            process.maintenance = not in_container and maintenance.is_genuine(
                process.program, self.images.owners
            )

    def _orphaned(self, child: Process, parent: Process) -> None:
        """A parent ended: a child in a POSIX session of its own was made a daemon."""
        if child.maintenance and not maintenance.has_name(child.program):
            # What a package's script leaves behind (a daemon it started) works for itself.
            child.maintenance = False
        if child.session is not None or child.terminal or not child.executable:
            return
        daemonised = child.session_leader in (child.pid, parent.pid)
        if daemonised and services.place_of(child.cgroup).unit is None:
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

    def preexisting(self, record: ProcessRecord) -> Process:
        """Learn one process that ran before it was heard of."""
        parent = self.processes.get(record.ppid)
        process = self._forked(record, parent)
        process.cgroup = record.cgroup if record.cgroup != "/" else ""
        self.book.follow_preexisting(process, record, parent)
        if record.executable:
            script = script_of(
                record.executable, record.arguments, record.requested_path, record.working_directory
            )
            process.program = script or record.executable
            self._note_maintenance(process, record)
        else:
            script = b""
            # PID 1 of a container or a small VM may hide its file; its first argument names it.
            named = record.arguments[0] if record.arguments else b""
            process.program = named if named.startswith(b"/") else b""
        orphan = record.ppid == 1 and not record.terminal
        self._name_service(process, rooted=orphan and record.session_leader == record.pid)
        process.known_ran = self.images.of_exec(
            process, record, script, parent.image.exec_id if parent is not None else ""
        )
        process.executed, process.executable = True, record.executable
        self.processes.add(process)
        return process


def _below(parent: Process) -> Line:
    """Return what stands above a child of `parent`; made once for all its children."""
    if parent.below is None:
        parent.below = below(parent.ran)
    return parent.below


def _as_service(program: bytes) -> str:
    return program.decode("utf-8", "backslashreplace")
