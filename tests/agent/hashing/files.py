"""A hashing side with real files, driven by hand."""

import hashlib
import time
from contextlib import contextmanager

from agent.hashing.hashing import Hashing
from agent.lines import Ran
from agent.stages.fold import Made
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.builders import an_image

DEADLINE_S = 60


class Hashed:
    """Meets what a test says, and keeps what is told."""

    def __init__(self, most_bytes=1 << 20, percent=100, **options):
        self.hashing = Hashing(most_bytes, percent, **options)
        self.told: list[events.FileHash] = []
        self.made: list[Made] = []

    def ran(self, path, pid=0, **fields):
        image = an_image(bytes(path), pid=pid, **fields)
        event = events.Event(exec=events.Exec(), attribution=events.ATTRIBUTION_EXACT)
        self.hashing.met(Made(Ran(image), event), clock.boot_ns())
        return image

    def changed(self, *paths, operation=events.FileChange.OPERATION_MODIFIED, image=None, **fields):
        changes = [
            events.FileChange.Change(path=bytes(path), operation=operation, **fields)
            for path in paths
        ]
        event = events.Event(file_change=events.FileChange(changes=changes))
        self.hashing.met(Made(Ran(image) if image else None, event), clock.boot_ns())

    def tick(self, later_ns=0):
        made = self.hashing.advance(clock.boot_ns() + later_ns)
        self.made += made
        self.told += [each.event.file_hash for each in made]

    def until(self, count):
        deadline = time.monotonic() + DEADLINE_S
        while len(self.told) < count:
            assert time.monotonic() < deadline, self.told
            self.tick()
            time.sleep(0.005)
        return self.told

    def settled(self):
        """Go on until nothing is on its way; return all that was told."""
        deadline = time.monotonic() + DEADLINE_S
        quiet = 0
        while quiet < 5:
            assert time.monotonic() < deadline
            self.tick()
            quiet = quiet + 1 if self.hashing.idle else 0
            time.sleep(0.01)
        self.tick()
        return self.told


@contextmanager
def hashed(**options):
    one = Hashed(**options)
    try:
        yield one
    finally:
        one.hashing.close()


def digest(content):
    return hashlib.sha256(content).digest()
