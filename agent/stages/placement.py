"""Where a process works: its service, where it came from, whose terminal it has."""

from agent.processes import Process, Processes
from agent.sensors.records import ProcessRecord
from agent.stages import bus_names, origins, services
from agent.stages.requests import Origin, Requests
from agent.stages.sessions import (
    PERSON,
    SCHEDULED,
    USER_MANAGER,
    Session,
    kind_of_opener,
)
from nightherd.event.v1 import event_pb2 as events

_Born = events.BornFrom


class Placement:
    """Decides for each program that is executed; what a process has, its children inherit."""

    def __init__(self, processes: Processes, requests: Requests) -> None:
        """Look for others in `processes`, and for who had something started in `requests`."""
        self._processes, self._requests = processes, requests

    def note_place(self, process: Process, record: ProcessRecord, came_from: bytes) -> None:
        """Note where a program runs; whether a terminal there is a person's.

        A terminal makes nobody a person below a service. Where something begins, a unit's first
        program, a container's, or one that a runtime or an opener of sessions starts, the terminal
        that it was given says whether somebody sits before it.
        """
        before = services.place_of(process.cgroup)
        if record.cgroup not in ("", "/"):
            process.cgroup = record.cgroup
        if not process.executed:
            process.roots = False
        if _moved(before, services.place_of(process.cgroup)) or (
            services.is_runtime(came_from) or self._forked_by_init(process)
        ):
            process.roots = True
        if process.roots:
            process.terminal_is_service = not record.terminal
        if kind_of_opener(came_from) == PERSON:
            process.terminal_is_service = False

    def note_preexisting(
        self,
        process: Process,
        record: ProcessRecord,
        before: services.Place,
        parent: Process | None,
    ) -> None:
        """Note the same of a process that ran before the agent; `before`: its parent's place."""
        above = parent.executable if parent is not None else b""
        moved = _moved(before, services.place_of(process.cgroup))
        if moved or record.ppid <= 1 or services.is_runtime(above):
            process.roots, process.terminal_is_service = True, not record.terminal
        if kind_of_opener(above) == PERSON:
            process.terminal_is_service = False

    def _forked_by_init(self, process: Process) -> bool:
        above = process.above
        return process.parent_pid == 1 and (above is None or above.ancestor.pid <= 1)

    def heads_itself(self, process: Process) -> bool:
        """Whether the process was left to PID 1 in a POSIX session of its own."""
        if process.parent_pid != 1 or process.terminal or process.pid == 1:
            return False
        leader = process.session_leader
        return leader == process.pid or self._processes.get(leader) is None

    def name_service(self, process: Process, *, rooted: bool) -> None:
        """Name what a process works for; `rooted`: it was left to PID 1 (see heads_itself)."""
        session = process.session
        place = services.place_of(process.cgroup)
        if place.unit and not (place.scope and session is not None):
            started = not process.executable or services.is_manager(process.executable)
            if started or place.container_id or self._forked_by_init(process):
                process.service = place.unit
            else:
                way = _Born.WAY_TRANSIENT_UNIT if place.scope else _Born.WAY_UNSPECIFIED
                self._leaves_for(process, place.unit, way)
        elif session is not None and session.kind == SCHEDULED:
            process.service = place.unit or self._scheduler(process, session.opener)
        elif session is not None and (session.kind != USER_MANAGER or place.unit == ""):
            # Also what systemd-run --scope puts apart: it is its session's still.
            process.service = ""
        elif process.pid == 1:
            process.service = _as_service(process.program)
        elif place.unit == "" and services.is_manager(process.executable):
            process.service = ""  # a person's manager
        elif rooted and session is None and place.unit is None:
            self._leaves_for(process, _as_service(process.program), _Born.WAY_DAEMONISED)

    def _scheduler(self, process: Process, opener: bytes) -> str:
        """Return the service of the daemon that opened a session for a job.

        The job inherits it, or its daemon has it; one that nobody started as a service is its own.
        """
        first = self._processes.get(1)
        nobodys = {"", first.service if first is not None else ""}
        if process.service not in nobodys:
            return process.service
        for other in self._processes:
            if other.executable == opener and other.session is None:
                return other.service if other.service not in nobodys else _as_service(opener)
        return _as_service(opener)

    def note_origin(self, process: Process, record: ProcessRecord, came_from: bytes) -> None:
        """Note who had a manager start a program, where a manager did and that is known."""
        origin = None
        requests, session = self._requests, process.session
        place = services.place_of(process.cgroup)
        began = services.is_manager(came_from) or self._forked_by_init(process)
        if place.container_id:
            if process.roots and services.is_runtime(came_from):
                origin = requests.of_container(record.boot_ns)
        elif session is not None and session.kind == SCHEDULED:
            origin = self._of_schedule(process, record, session)
        elif place.unit and began and not services.is_manager(record.executable):
            unit = process.cgroup.rpartition("/")[2]
            user = place.user_unit
            origin = requests.of_unit(unit, record.arguments, record.boot_ns, user=user)
        elif bus_names.is_daemon(came_from) and not bus_names.is_daemon(record.executable):
            origin = requests.of_bus(record.arguments, record.boot_ns)
        if origin is not None:
            process.born, process.put_there = origin

    def _of_schedule(
        self, process: Process, record: ProcessRecord, session: Session
    ) -> Origin | None:
        """Return who wrote what cron or at runs."""
        requests = self._requests
        if process.program.startswith(b"/etc/cron"):
            return requests.of_scheduled_file(process.program)
        if process.born is not None or session.kind != SCHEDULED:
            return None
        if session.opener.rpartition(b"/")[2] == b"atd":
            return requests.of_job(
                (record.pid, record.ppid, session.leader_pid), session.login_user_id
            )
        return requests.of_line(record.arguments[2]) if len(record.arguments) > 2 else None  # noqa: PLR2004

    def _leaves_for(self, process: Process, service: str, way: "_Born.Way.ValueType") -> None:
        """A process has another service now than it inherited; it keeps where it came from."""
        left, process.service = process.service, service
        if process.born is not None or left == service or not left:
            return
        first = self._processes.get(1)
        above = process.above
        if (first is not None and left == first.service) or above is None:
            return  # init starts services: none of them came from another
        came_from = self._processes.image_of(above.ancestor.exec_id)
        if came_from is not None:
            process.born = origins.of_image(came_from, way, events.ATTRIBUTION_EXACT)
        else:
            process.born = _Born(
                exec_id=above.ancestor.exec_id,
                provenance=events.PROVENANCE_SERVICE,
                way=way,
                attribution=events.ATTRIBUTION_EXACT,
            )
        process.born.service = left

    def orphaned(self, child: Process, parent: Process) -> None:
        """A parent ended: a child in a POSIX session of its own was made a daemon."""
        if child.session is not None or child.terminal or not child.executable:
            return
        daemonised = child.session_leader in (child.pid, parent.pid)
        if daemonised and services.place_of(child.cgroup).unit is None:
            service = _as_service(child.program)
            if service != child.service:
                self._leaves_for(child, service, _Born.WAY_DAEMONISED)
                for grandchild in self._below(child):
                    grandchild.service, grandchild.born = service, child.born

    def _below(self, process: Process) -> list[Process]:
        """Return living descendants that inherited the process's service meanwhile."""
        below, todo = [], [process.pid]
        while todo:
            pid = todo.pop()
            for other in self._processes:
                if other.parent_pid == pid and other.pid != pid and other not in below:
                    below.append(other)
                    todo.append(other.pid)
        return below


def _moved(before: services.Place, now: services.Place) -> bool:
    """Whether one unit or container was left for another; to a session's scope is no such move."""
    return bool(now.unit) and (now.unit, now.container_id) != (before.unit, before.container_id)


def _as_service(program: bytes) -> str:
    return program.decode("utf-8", "backslashreplace")
