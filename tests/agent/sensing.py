"""The agent's whole loop in this process, at the level this machine has: what it tells is kept."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from agent.pipeline import Pipeline
from agent.sensors import open_sensors
from agent.sensors.watchlist import Entry, WatchList
from agent.spool import Spool
from agent.stages.fold import Made
from agent.stages.seal import Host, Sealer
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.builders import HOST
from tests.patience import patient

DEADLINE_SECONDS = patient(60)
Level = Literal["full", "audit", "poll"]


class Sensing:
    """A pipeline that is ticked by hand."""

    def __init__(
        self,
        folder: Path,
        *patterns: str,
        level: Level = "full",
        secrets: tuple[str, ...] = (),
    ) -> None:
        paths, kept = (tuple(map(str.encode, each)) for each in (patterns, secrets))
        entries = [Entry("test", paths, urgent=True, inodes=True)]
        watch_list = WatchList(entries, secrets=[Entry("a secret", kept, urgent=False)])
        # Nobody's pid: what the test itself does counts too.
        self.sensors = open_sensors(level, watch_list, own_pid=-1)
        spool = Spool(folder / "spool")
        sealer = Sealer(Host(HOST, "default", clock.boot_id(), "0"), KEY, spool.link)
        self.pipeline = Pipeline(self.sensors, watch_list, spool, sealer, lambda: None)
        self.pipeline.witness = self
        self.made: list[Made] = []
        self.pipeline.tick()

    def saw(self, made: Made) -> None:
        self.made.append(made)

    def told(self, kind: str) -> list[tuple[events.Image, events.Event]]:
        """(image, event) of one kind, in order; an empty image for nobody."""
        return [
            (made.image or events.Image(), made.event)
            for made in self.made
            if made.event.WhichOneof("kind") == kind
        ]

    def above(self, image: events.Image) -> list[events.Ancestor]:
        """What stands above an image that did something, nearest first."""
        made = next(made for made in self.made if made.ran is not None and made.image is image)
        return list(made.ran.above or ())

    def until(self, enough: Callable[[], object]) -> object:
        """Tick until there is enough; fails the test when that takes too long."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := enough()):
            assert time.monotonic() < deadline, [made.event for made in self.made[-20:]]
            time.sleep(0.02)
            self.pipeline.tick()
        return found


@contextmanager
def sensing(
    folder: Path, *patterns: str, level: Level = "full", secrets: tuple[str, ...] = ()
) -> Iterator[Sensing]:
    """Sense what happens to the names of `patterns`, reads of `secrets`, and all processes."""
    assert os.geteuid() == 0
    host = Sensing(folder, *patterns, level=level, secrets=secrets)
    try:
        yield host
    finally:
        host.pipeline.finish()
        host.sensors.close()
