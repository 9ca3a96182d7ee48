"""Senses this host at one level and writes what it sees, a JSON object a line, until SIGTERM.

Runs inside a guest: `python3 -m tests.lab.sense_here LEVEL FILE [PATTERN...]`.
"""

import base64
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from agent.pipeline import Pipeline
from agent.sensors import folders, open_sensors, watchlist
from agent.sensors.watchlist import Entry
from agent.spool import Spool
from agent.stages.fold import Made
from agent.stages.seal import Host, Sealer
from chassis import clock
from tests.agent.sealing import KEY
from tests.builders import HOST

_BYTES = ("executable", "script", "workingDirectory", "path", "previousPath", "requestedPath")


def _shown(value: object, name: str = "") -> object:
    """Return a message's dictionary with its bytes as text."""
    if isinstance(value, dict):
        return {key: _shown(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_shown(each, name) for each in value]
    if isinstance(value, str) and name in (*_BYTES, "arguments", "opener", "command", "account"):
        return base64.b64decode(value).decode("utf-8", "backslashreplace")
    return value


class _Writer:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def saw(self, made: Made) -> None:
        told = {"event": _shown(MessageToDict(made.event)), "kind": made.kind}
        if made.ran is not None:
            told["image"] = _shown(MessageToDict(made.ran.image))
            above = made.ran.above or ()
            told["above"] = [each.executable.decode("utf-8", "replace") for each in above]
        self._file.write(json.dumps(told) + "\n")


def main() -> None:
    """Sense until SIGTERM."""
    level, path, *patterns = sys.argv[1:]
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    watched = folders.of_this_host(watchlist.load())
    if patterns:
        paths = tuple(pattern.encode() for pattern in patterns)
        watched = watchlist.WatchList([*watched.entries, Entry("test", paths, urgent=True)])
    with tempfile.TemporaryDirectory() as folder:
        sensors = open_sensors(level, watched)  # type: ignore[arg-type]
        spool = Spool(Path(folder) / "spool")
        sealer = Sealer(Host(HOST, "default", clock.boot_id(), "0"), KEY, spool.link)
        pipeline = Pipeline(sensors, watched, spool, sealer, lambda: None)
        pipeline.identifier.images.owners.refresh()
        pipeline.witness = _Writer(Path(path))
        pipeline.tick()
        Path(path + ".ready").write_text(f"{sensors.level} {os.getpid()}\n")
        while not stopped:
            time.sleep(0.05)
            pipeline.tick()
        pipeline.finish()
        sensors.close()
        spool.close()


if __name__ == "__main__":
    main()
