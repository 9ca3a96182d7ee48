"""Tells the hash of each program that runs and of each watched file that changes, once.

This is the side of the agent's loop: it looks at events that pass by, hands over what is to be
hashed, and makes events of what came out. It touches no file.
"""

import os
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from agent.hashing.child import Patience
from agent.hashing.hasher import Hasher
from agent.hashing.jobs import Job, Outcome, kernel_device
from agent.stages.fold import Made
from chassis import clock
from chassis.counters import Counter
from nightherd.event.v1 import event_pb2 as events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.lines import Ran

log = structlog.get_logger()
hashed_total = Counter("nightherd_agent_hashed", "Files of which the hash was told")
MOST_MET: Final = 512
"""Files that are met between two ticks, and that wait to be looked at."""
MOST_CHANGED: Final = 1024
REST_NS: Final = 10_000_000_000
"""A file that changes all the time is hashed so often: its last content is always among it."""
MOST_STUCK: Final = 3
"""Files that nobody can look at hold up so many threads, and no more."""
_Change = events.FileChange
_NEW: Final = frozenset(
    {
        _Change.OPERATION_CREATED,
        _Change.OPERATION_MODIFIED,
        _Change.OPERATION_RENAMED,
        _Change.OPERATION_LINKED,
    }
)
"""Operations behind which a name has another content."""
_Key = tuple[bytes, int, str]


class Hashing:
    """Watches the events of one agent."""

    def __init__(
        self,
        most_bytes: int,
        percent: int,
        own_namespace: int = 0,
        patience: Patience = Patience(),  # noqa: B008  (it never changes)
    ) -> None:
        """Hash files up to `most_bytes`, with `percent` of one CPU on average.

        Args:
            most_bytes: larger files are named, not hashed.
            percent: of one CPU.
            own_namespace: inode of this process's mount namespace; 0: not known.
            patience: with who reads the files.
        """
        self._most_bytes, self._percent, self._patience = most_bytes, percent, patience
        self._own_namespace = own_namespace
        self._hasher = Hasher(most_bytes, percent, patience)
        self._hasher.start()
        self._stuck = 0
        self._met: dict[_Key, Job] = {}
        self._changed: OrderedDict[bytes, tuple[int, Job]] = OrderedDict()
        self._hashed: OrderedDict[int, int] = OrderedDict()
        """Hash of the path of a changed file -> when it was handed over last."""
        self._left_out = self._counted = 0
        """Files that were not hashed, here; how many the hasher said, of those told already."""

    @classmethod
    def of_this_host(cls, most_bytes: int, percent: int) -> "Hashing | None":
        """Return one for the namespace that this process is in; None: nothing is to be hashed."""
        try:
            namespace = os.stat("/proc/self/ns/mnt").st_ino  # noqa: PTH116  (a link that leads on)
        except OSError:
            namespace = 0
        return cls(most_bytes, percent, namespace) if most_bytes > 0 else None

    @property
    def pid(self) -> int:
        """Process that reads the files; 0: none does."""
        return self._hasher.child.pid

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not (self._met or self._changed or self._hasher.outcomes) and self._hasher.idle

    def met(self, made: Made, now: int) -> None:
        """Look at an event that passes by at `now` (boot clock)."""
        if made.kind == "exec":
            if made.ran is not None:
                self._ran(made.ran, made.event.attribution)
        elif made.kind == "file_change":
            for change in made.event.file_change.changes:
                if change.operation in _NEW and not change.directory:
                    self._change(change.path, made, now)

    def running(self, those: "Iterable[Ran]") -> None:
        """Hash what ran before anybody watched."""
        for ran in those:
            self._ran(ran, events.ATTRIBUTION_EXACT)

    def _ran(self, ran: "Ran", attribution: "events.Attribution.ValueType") -> None:
        image = ran.image
        executable, script, container = image.executable, image.script, image.container_id
        inode, device = image.inode, image.device
        # Most of what runs between two ticks is the same few programs.
        if executable and (executable, inode, container) not in self._met and self._room():
            self._met[executable, inode, container] = self._job(ran, attribution, inode, device)
        if script and (script, 0, container) not in self._met and self._room():
            job = self._job(ran, attribution, 0, 0)
            self._met[script, 0, container] = replace(job, path=script, script=True)

    def _job(
        self, ran: "Ran", attribution: "events.Attribution.ValueType", inode: int, device: int
    ) -> Job:
        image, reason = ran.image, events.FileHash.REASON_EXECUTED
        elsewhere = self._elsewhere(image)
        who = (image.executable, ran, reason, attribution, image.pid)
        return Job(*who, inode=inode, device=device, elsewhere=elsewhere)

    def _elsewhere(self, image: events.Image) -> bool:
        if events.TRAIT_OTHER_MOUNT_NAMESPACE in image.traits or image.container_id:
            return True
        namespace = image.mount_namespace
        return bool(namespace and self._own_namespace and namespace != self._own_namespace)

    def _room(self) -> bool:
        if len(self._met) < MOST_MET:
            return True
        self._left_out += 1
        return False

    def _change(self, path: bytes, made: Made, now: int) -> None:
        if path not in self._changed and len(self._changed) >= MOST_CHANGED:
            self._left_out += 1
            return
        due = self._changed[path][0] if path in self._changed else now
        last = self._hashed.get(hash(path))
        if last is not None:
            due = max(due, last + REST_NS)
        reason = events.FileHash.REASON_CHANGED
        self._changed[path] = (due, Job(path, made.ran, reason, made.event.attribution))

    def advance(self, now: int) -> list[Made]:
        """Hand over what is due at `now` (boot clock); return what came out meanwhile."""
        due = list(self._met.values())
        self._met.clear()
        if self._changed:
            paths = [path for path, (when, _) in self._changed.items() if when <= now]
            for path in paths:
                due.append(self._changed.pop(path)[1])
                self._hashed[hash(path)] = now
                self._hashed.move_to_end(hash(path))
            while len(self._hashed) > MOST_CHANGED:
                self._hashed.popitem(last=False)
        if due:
            self._hand_over(due, now)
        outcomes = self._hasher.outcomes
        found: list[Made] = []
        while outcomes:
            found.append(_told(outcomes.popleft()))
        hashed_total.inc(len(found))
        return found

    def _hand_over(self, due: list[Job], now: int) -> None:
        room = max(MOST_MET - self._hasher.behind, 0)
        self._left_out += len(due[room:])
        if self._hasher.behind and now - self._hasher.turn_ns > self._patience.stuck_s * clock.NS:
            self._stuck += 1
            if self._stuck <= MOST_STUCK:
                log.warning("a file cannot be looked at: hashing goes on without it")
                self._left_out += self._hasher.left_out - self._counted + self._hasher.behind
                self._counted = 0
                self._hasher.abandon()
                self._hasher = Hasher(self._most_bytes, self._percent, self._patience)
                self._hasher.start()
                room = MOST_MET
        if room:
            self._hasher.take(due[:room])

    def take_left_out(self) -> int:
        """Return how many files were not hashed, for want of room, since last asked."""
        by_hasher = self._hasher.left_out
        count = self._left_out + by_hasher - self._counted
        self._left_out, self._counted = 0, by_hasher
        return count

    def close(self) -> None:
        """End within a moment."""
        self._hasher.close()


def _told(outcome: Outcome) -> Made:
    job, signature = outcome.job, outcome.signature
    said = events.FileHash(
        path=job.path, sha256=outcome.sha256, reason=job.reason, refusal=outcome.refusal
    )
    if signature is not None:
        device, said.inode, said.size_bytes, modified_ns, changed_ns = signature
        # Where the kernel told the device of the very inode, that is what images say.
        ours = job.device if job.inode == signature[1] else 0
        said.device = ours or kernel_device(device)
        said.modified_time.CopyFrom(clock.to_timestamp(modified_ns))
        said.changed_time.CopyFrom(clock.to_timestamp(changed_ns))
    event = events.Event(attribution=job.attribution, file_hash=said)
    event.event_time.CopyFrom(clock.to_timestamp(clock.wall_ns()))
    return Made(job.ran, event, kind="file_hash")
