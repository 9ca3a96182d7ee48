"""Who stands behind what: puts identity on images as the kernel's records come in.

Identity is inherited at fork and changes at exec; a session, once known, sticks. See
docs/architecture.md and the proto comments for what each field means.
"""

from bisect import bisect_left
from collections import deque
from functools import partial

from agent.genuine import Genuine, Running
from agent.lines import Line, Ran, below
from agent.names import Names
from agent.processes import MOST_UNTOLD, TICK_NS, Process, Processes
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages import maintenance, services
from agent.stages.images import Images
from agent.stages.placement import Placement
from agent.stages.requests import Requests
from agent.stages.scripts import script_of
from agent.stages.session_book import SessionBook
from nightherd.event.v1 import event_pb2 as events

_Born = events.BornFrom
MOST_TICKS = 512
"""Of which it is known when they began: as far back as a change may be held."""


class Identifier:
    """Keeps the processes of this host and makes images out of records."""

    def __init__(self, boot_id: str, names: Names) -> None:
        """Begin knowing nobody; feed it a snapshot first."""
        self.processes = Processes()
        self.images = Images(boot_id, names)
        self.genuine = Genuine(self.images.owners)
        self.book = SessionBook(self.processes, self.genuine)
        self.requests = Requests()
        self._placement = Placement(self.processes, self.requests)
        self.grain_ns = 0
        """How coarse the times of processes' records are."""
        self.changers: frozenset[int] = frozenset()
        """Who changed files that are to be told next: of them a mere fork matters as well."""
        self._ticks: deque[int] = deque(maxlen=MOST_TICKS)

    def begin_tick(self, wall_minus_boot_ns: int, boot_ns: int) -> None:
        """Begin a round of records; boot time becomes wall time by adding `wall_minus_boot_ns`."""
        self.images.wall_minus_boot_ns = wall_minus_boot_ns
        self._ticks.append(boot_ns)

    def since(self, read_ns: int) -> int:
        """Return since when a change may have happened that was read at `read_ns`.

        Sources without times of their own are read once a tick: it came after the tick before.
        """
        ticks = self._ticks
        place = bisect_left(ticks, read_ns + 1) - 2
        return ticks[place] if place >= 0 else (ticks[0] if ticks else 0)

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
            # A fork that was found by looking may have joined its session since.
            within = record.exact or _is_in(parent, record.session_id)
            self.book.follow(process, record, parent, record.ppid if within else record.pid)
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
        # Of a mere fork nobody was told of, only its id may matter, unless it changed files.
        acted = process.executed or process.fork_told
        wanted = acted or record.pid in self.changers
        before = process.ran if wanted or (process.above is None and not unseen) else None
        if before is not None and wanted and not process.executed:
            process.history = [(process.start_ns, before)]
        opener, came_from = process, process.executable
        process.parent_pid = record.ppid
        process.terminal = record.terminal
        process.session_leader = record.session_leader
        self._placement.note_place(process, record, came_from)
        if record.session_id != UNSET_ID or process.session is not None:
            self.book.follow(process, record, opener, record.pid)
        if before is not None and before.image.executable and acted:
            process.above = _below(process)
        process.below = None
        script = script_of(
            record.executable, record.arguments, record.requested_path, record.working_directory
        )
        process.program = script or record.executable
        self._note_maintenance(process, record, script)
        self._placement.name_service(process, rooted=self._placement.heads_itself(process))
        self._placement.note_origin(process, record, came_from)
        ran = process.known_ran = self.images.of_exec(
            process, record, script, before.image.exec_id if before is not None else ""
        )
        process.begins(ran, record.boot_ns)
        self.requests.heard(ran.image, record.boot_ns)
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

    def who_changed(self, process: Process, read_ns: int) -> list[Ran]:
        """Return what may have made a change by a process's pid that was read at `read_ns`.

        The likeliest is the first: the latest that is no package manager's. What a package
        manager may have done is not excused as long as another may have done it.
        """
        since = self.since(read_ns) - self.grain_ns
        found = process.ran_within(since, read_ns + self.grain_ns) or [process.ran]
        if len(found) > 1:
            found.reverse()
            found.sort(key=_is_maintenance)
        return found

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
            process.terminal_is_service = parent.terminal_is_service
            process.born = parent.born
            process.put_there = parent.put_there
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

    # -- maintenance -----------------------------------------------------------------------------

    def _note_maintenance(self, process: Process, record: ProcessRecord, script: bytes) -> None:
        named = maintenance.has_name(process.program)
        if process.maintenance:
            if named:
                process.maintenance = not maintenance.has_hooks(record.arguments)
            elif maintenance.is_personal(record.executable, record.arguments, script):
                process.maintenance = False
            return
        if not named or record.effective_user_id != 0:
            return
        process.maintenance = not (
            services.place_of(process.cgroup).container_id
            or maintenance.has_hooks(record.arguments)
            or maintenance.is_elsewhere(record.pid, record.mount_namespace)
        ) and maintenance.is_genuine(
            process.program,
            Running(record.pid, record.device, 0 if script else record.inode),
            self.images.owners,
            self.genuine,
        )

    def _orphaned(self, child: Process, parent: Process) -> None:
        """A parent ended."""
        if child.maintenance and not maintenance.has_name(child.program):
            # What a package's script leaves behind (a daemon it started) works for itself.
            child.maintenance = False
        self._placement.orphaned(child, parent)

    # -- before the agent ------------------------------------------------------------------------

    def preexisting(self, record: ProcessRecord) -> Process:
        """Learn one process that ran before it was heard of."""
        parent = self.processes.get(record.ppid)
        process = self._forked(record, parent)
        before = services.place_of(process.cgroup)
        process.cgroup = record.cgroup if record.cgroup != "/" else ""
        self._placement.note_preexisting(process, record, before, parent)
        self.book.follow_preexisting(process, record, parent)
        if record.executable:
            script = script_of(
                record.executable, record.arguments, record.requested_path, record.working_directory
            )
            process.program = script or record.executable
            self._note_maintenance(process, record, script)
        else:
            script = b""
            # PID 1 of a container or a small VM may hide its file; its first argument names it.
            named = record.arguments[0] if record.arguments else b""
            process.program = named if named.startswith(b"/") else b""
        process.executable = b""  # whatever is there was put there before
        orphan = record.ppid == 1 and not record.terminal
        self._placement.name_service(process, rooted=orphan and record.session_leader == record.pid)
        process.known_ran = self.images.of_exec(
            process, record, script, parent.image.exec_id if parent is not None else ""
        )
        process.executed, process.executable = True, record.executable
        process.history = [(record.start_ns, process.ran)]
        self.processes.add(process)
        return process


def _is_in(process: Process | None, session_id: int) -> bool:
    known = process.kernel_login if process is not None else None
    return known is not None and known[1] == session_id


def _is_maintenance(ran: Ran) -> bool:
    return ran.image.maintenance


def _below(parent: Process) -> Line:
    """Return what stands above a child of `parent`; made once for all its children."""
    if parent.below is None:
        parent.below = below(parent.ran)
    return parent.below
