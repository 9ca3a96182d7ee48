"""Takes jobs, looks at their files, has new ones hashed, and says what came out.

It runs in a thread, for looking at a file may take time, and its outcomes are fetched by the loop.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from agent.hashing import opening, worker
from agent.hashing.child import Child, Patience
from agent.hashing.jobs import Job, Outcome, Signature, signature_of
from agent.hashing.known import Known
from agent.hashing.opening import NotAFileError, Opener
from chassis import clock

log = structlog.get_logger()
MOST_WAITING: Final = 100
"""Files that are open because they wait to be read."""
MOST_TRIES: Final = 2
"""A file whose inode changes meanwhile (it was deleted, say) is read once more."""
CLOSING_S: Final = 0.5
_TURN_S: Final = 1.0


@dataclass(slots=True)
class _Waiting:
    job: Job
    file: int
    """Descriptor of O_PATH: the inode stays the same file while it is read."""
    signature: Signature
    tries: int = 1


class Hasher:
    """Hashes what it is given, one file after the other."""

    def __init__(self, most_bytes: int, percent: int, patience: Patience) -> None:
        """Hash files up to `most_bytes`, with `percent` of one CPU."""
        self.child = Child(percent, patience)
        self.outcomes: deque[Outcome] = deque()
        self.left_out = 0
        """Files that were not hashed because too many waited."""
        self.turn_ns = clock.boot_ns()
        """When it last had a turn: a file that cannot be looked at may hold it up for ever."""
        self._most_bytes = most_bytes
        self._jobs: deque[Job] = deque()
        self._known, self._opener = Known(), Opener()
        self._waiting: dict[int, _Waiting] = {}
        self._signatures: set[Signature] = set()
        self._number = 0
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="hashing", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def take(self, jobs: Iterable[Job]) -> None:
        """Take further jobs; returns at once."""
        self._jobs.extend(jobs)
        os.eventfd_write(self._bell, 1)

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._jobs and not self._waiting

    @property
    def behind(self) -> int:
        """How many jobs were not looked at yet."""
        return len(self._jobs)

    def abandon(self) -> None:
        """End as soon as what holds it up allows; nobody waits for that."""
        self._closing = True
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """End within a moment; what waits is not hashed."""
        self.abandon()
        self._thread.join(CLOSING_S)
        if not self._thread.is_alive() and self._bell >= 0:
            os.close(self._bell)
            self._bell = -1

    def _run(self) -> None:
        try:
            while not self._closing:
                self.child.wait(self._bell, _TURN_S)
                self.turn()
        finally:
            self.child.stop()
            for waiting in self._waiting.values():
                os.close(waiting.file)

    def turn(self) -> None:
        """Do what there is to do."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._jobs and not self._closing:
            self.turn_ns = clock.boot_ns()
            self._look(self._jobs[0])
            self._jobs.popleft()  # until then it is on its way
        self.turn_ns = clock.boot_ns()
        for number, status, digest in self.child.answers():
            if status != worker.READING:
                self._answered(number, status, digest)
        if self._waiting and self.child.hangs():
            log.warning("a file cannot be read: hashing starts anew")
            # The first is the one that it reads.
            first = min(self._waiting)
            self.child.stop()
            self._answered(first, worker.UNREADABLE, b"")
        if self._waiting and not self.child.pid:
            self._give_up()

    def _look(self, job: Job) -> None:
        glanced = self._opener.glance(job)
        if glanced is not None and glanced in self._known:
            self._tell_known(job, glanced)
            return
        try:
            seen = self._opener.look(job)
        except NotAFileError:
            return
        except OSError as error:  # no descriptors, no /proc
            log.debug("a file is not looked at", error=str(error))
            self.left_out += 1
            return
        file, signature = (-1, None) if isinstance(seen, Outcome) else seen
        if self._tell_known(job, signature):
            pass
        elif isinstance(seen, Outcome):
            self._settle(seen)
        elif seen[1][2] > self._most_bytes:
            self._settle(Outcome(job, signature, refusal=opening.SIZE))
        elif seen[1] not in self._signatures and self._ask(_Waiting(job, file, seen[1])):
            return  # the file stays open
        if file >= 0:
            os.close(file)

    def _tell_known(self, job: Job, signature: Signature | None) -> bool:
        """Say what is known, where it is time to; False: nothing is."""
        known = self._known.find(job, signature, clock.boot_ns())
        if known is None:
            return False
        sha256, refusal, again = known
        if again:
            self.outcomes.append(Outcome(job, signature, sha256, refusal))
        return True

    def _ask(self, waiting: _Waiting) -> bool:
        if len(self._waiting) >= MOST_WAITING:
            self.left_out += 1
            return False
        try:
            file = opening.to_read(waiting.file)
        except OSError:
            self._settle(Outcome(waiting.job, waiting.signature, refusal=opening.UNREADABLE))
            return False
        if not self._waiting:
            self.child.expect()
        self._number += 1
        taken = self.child.ask(self._number, file, waiting.signature[2])
        os.close(file)
        if not taken:
            self.left_out += 1
            return False
        self._waiting[self._number] = waiting
        self._signatures.add(waiting.signature)
        return True

    def _answered(self, number: int, status: int, digest: bytes) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        self._signatures.discard(waiting.signature)
        outcome = Outcome(waiting.job, waiting.signature, refusal=opening.UNREADABLE)
        if status != worker.UNREADABLE:
            now = signature_of(os.fstat(waiting.file))
            if status == worker.DONE and now == waiting.signature:
                outcome = replace(outcome, sha256=digest, refusal="")
            elif waiting.tries < MOST_TRIES and now[2] <= self._most_bytes:
                again = _Waiting(waiting.job, waiting.file, now, waiting.tries + 1)
                if self._ask(again):
                    return
                os.close(waiting.file)
                return
            else:
                outcome = replace(outcome, signature=now, refusal=opening.CHANGING)
        os.close(waiting.file)
        self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        now = clock.boot_ns()
        # What changes all the time is looked at again when it is met again.
        if outcome.refusal != opening.CHANGING:
            self._known.note(outcome.job, outcome.signature, outcome.sha256, outcome.refusal, now)
        self.outcomes.append(outcome)

    def _give_up(self) -> None:
        """Count what a worker that is gone did not answer."""
        self.left_out += len(self._waiting)
        for waiting in self._waiting.values():
            os.close(waiting.file)
        self._waiting.clear()
        self._signatures.clear()
