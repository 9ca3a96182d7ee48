"""The processes of this host, as far as they matter for who did what."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agent.lines import Line, Ran
from agent.sensors.records import ProcessRecord
from agent.stages.sessions import Session
from nightherd.event.v1 import event_pb2 as events

KEPT_NS = 60_000_000_000
"""How long a process that ended can still be named for what it did."""
REMEMBERED_NS = 10_000_000_000
"""How long it is remembered what a process ran before: file changes are read that late at most."""
MOST_REMEMBERED = 64
TICK_NS = 10_000_000
"""One clock tick (USER_HZ = 100): the unit of start times in /proc/PID/stat."""
MOST_UNTOLD = 16
"""Forks in a row that nobody was told of and that can still be told."""
MOST_ENDED = 256
"""Kept beyond a tick; within one all are: `forget` comes at its end."""


@dataclass(slots=True)
class Process:
    """One process and the program it runs now."""

    pid: int
    start_ns: int
    """When it was forked (boot clock)."""
    parent_pid: int
    session_leader: int
    """POSIX session id."""
    known_ran: Ran | None = None
    """`ran`, once somebody asked for it: most forks exec before they do anything."""
    make_ran: Callable[["Process"], Ran] = lambda _: Ran(events.Image())
    """Makes `ran`. Holds no reference to the process: a cycle would wait for the collector."""
    executable: bytes = b""
    session: Session | None = None
    """The audit session it belongs to, through everything; None outside any."""
    login_user_id: int | None = None
    audit_session_id: int | None = None
    kernel_login: tuple[int, int] | None = None
    """(audit login uid, audit session) as the kernel had them lately; None: not looked at yet."""
    terminal: str = ""
    service: str = ""
    cgroup: str = ""
    maintenance: bool = False
    program: bytes = b""
    """What a person would call it: the script, or the executable."""
    above: Line | None = None
    """What stands above `image`."""
    below: Line | None = None
    """What stands above children forked by `image`, once there was one."""
    ended_ns: int = 0
    executed: bool = False
    """False for a fork that still runs its parent's program."""
    history: list[tuple[int, Ran]] = field(default_factory=list)
    """What it ran lately, each with when that began (boot clock); the last is `ran`."""
    terminal_is_service: bool = False
    """Whether a terminal of its own says nothing of a person: its service's root had none."""
    roots: bool = False
    """Whether its service, or its container, begins with it."""
    born: events.BornFrom | None = None
    """Where it, or who it inherits from, came from when it left."""
    put_there: bool = False
    """Whether a person's session had a manager start it: at, cron, systemd-run."""
    predecessor: "Process | None" = None
    """Who had this pid before, while that one can still be named."""
    users: tuple[int, int, int] | None = None
    """Real, effective and saved user id as they were seen last; None: not seen yet."""
    fork_told: bool = False
    """Whether it was told of although it did not execute a program."""
    untold: tuple["Process", ...] = ()
    """Forks between it and the nearest image that was told of, the nearest to it last."""
    end: ProcessRecord | None = None
    """How it ended, when nobody was told of it."""

    @property
    def ran(self) -> Ran:
        """The program it runs, with who stands behind it, and what above."""
        if self.known_ran is None:
            self.known_ran = self.make_ran(self)
        return self.known_ran

    @property
    def image(self) -> events.Image:
        """The program it runs, with who stands behind it."""
        return self.ran.image

    @property
    def candidates(self) -> list[Ran]:
        """What it ran lately, the latest last."""
        return [ran for _, ran in self.history]

    def begins(self, ran: Ran, boot_ns: int, before: Ran | None = None) -> None:
        """Note that it runs another program since `boot_ns`.

        `before` is what it ran until then, where that is not known to the history.
        """
        history = self.history
        if before is not None and not history:
            history.append((self.start_ns, before))
        history.append((boot_ns, ran))
        while len(history) > 1 and history[1][0] < boot_ns - REMEMBERED_NS:
            del history[0]
        if len(history) > MOST_REMEMBERED:
            del history[1]

    def ran_within(self, since_ns: int, until_ns: int) -> list[Ran]:
        """Return what it ran at some moment of a span, in order."""
        found = []
        if before := self.predecessor:
            found += before.ran_within(since_ns, until_ns) if before.ended_ns >= since_ns else []
        if self.start_ns > until_ns + TICK_NS or (self.ended_ns and self.ended_ns < since_ns):
            return found
        if not self.history:
            return [*found, self.ran]
        ends = [began for began, _ in self.history[1:]]
        return found + [
            ran
            for (began, ran), end in zip(self.history, [*ends, until_ns + 1], strict=True)
            if began <= until_ns and end >= since_ns
        ]


class Processes:
    """Table of processes by pid: living ones, and ended ones for a while."""

    def __init__(self) -> None:
        """Begin empty."""
        self._living: dict[int, Process] = {}
        self._ended: OrderedDict[tuple[int, int], Process] = OrderedDict()
        self._last_ended: dict[int, Process] = {}
        self._children: dict[int, set[int]] = {}

    def __len__(self) -> int:
        """How many are known to live."""
        return len(self._living)

    def __iter__(self) -> Iterator[Process]:
        """The living."""
        return iter(list(self._living.values()))

    def get(self, pid: int) -> Process | None:
        """Return the living process with `pid`."""
        return self._living.get(pid)

    def who(self, pid: int) -> Process | None:
        """Return who has, or had until lately, `pid`: for events without a time of their own."""
        return self._living.get(pid) or self._last_ended.get(pid)

    def image_of(self, exec_id: str) -> events.Image | None:
        """Return an image of a process that is still known, by its exec_id."""
        pid = exec_id.split(":")[1:2]
        process = self.who(int(pid[0])) if pid and pid[0].isdigit() else None
        if process is None:
            return None
        for ran in (process.ran, *process.candidates):
            if ran.image.exec_id == exec_id:
                return ran.image
        return None

    def lately(self, since_ns: int) -> Iterator[Process]:
        """Yield processes that began since then, ended ones too."""
        for process in (*self._ended.values(), *self._living.values()):
            if process.start_ns >= since_ns:
                yield process

    def add(self, process: Process) -> None:
        """Add a process; one with the same pid must have ended unseen."""
        before = self._living.get(process.pid)
        if before is not None:
            self._retire(before, process.start_ns)
        predecessor = self._last_ended.get(process.pid)
        if predecessor is not None:
            process.predecessor, predecessor.predecessor = predecessor, None
        self._living[process.pid] = process
        siblings = self._children.get(process.parent_pid)
        if siblings is None:
            siblings = self._children[process.parent_pid] = set()
        siblings.add(process.pid)

    def end(self, process: Process, boot_ns: int) -> list[Process]:
        """Note that a process ended; return its living children, which have a new parent now."""
        self._retire(process, boot_ns)
        children = [
            child
            for pid in self._children.pop(process.pid, ())
            if (child := self._living.get(pid)) is not None and child.parent_pid == process.pid
        ]
        for child in children:
            child.parent_pid = 1
            self._children.setdefault(1, set()).add(child.pid)
        return children

    def _retire(self, process: Process, boot_ns: int) -> None:
        process.ended_ns = boot_ns
        process.below = None
        self._living.pop(process.pid, None)
        if (siblings := self._children.get(process.parent_pid)) is not None:
            siblings.discard(process.pid)
            if not siblings:
                del self._children[process.parent_pid]
        self._ended[process.pid, process.start_ns] = process
        self._last_ended[process.pid] = process

    def forget(self, boot_ns: int) -> None:
        """Forget what ended long ago, and the oldest when there are too many."""
        while self._ended:
            key, process = next(iter(self._ended.items()))
            if process.ended_ns > boot_ns - KEPT_NS and len(self._ended) <= MOST_ENDED:
                return
            del self._ended[key]
            if self._last_ended.get(process.pid) is process:
                del self._last_ended[process.pid]
