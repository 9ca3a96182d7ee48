"""Which processes are ours, noted in a file; and the end of those that a killed supervisor left."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from cli.homes import Home

log = structlog.get_logger()
STOP_S = 60.0


def note(home: Home, pids: Mapping[str, int]) -> None:
    """Write down what runs: program -> process id (0: not now)."""
    path = home.state / "pids.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(pids), encoding="ascii")
    fresh.replace(path)


def noted(home: Home) -> dict[str, int]:
    """Return what was written down; empty when nothing was."""
    try:
        known = json.loads((home.state / "pids.json").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {str(name): int(pid) for name, pid in known.items() if isinstance(pid, int) and pid > 0}


def forget(home: Home) -> None:
    """Nothing runs any more."""
    (home.state / "pids.json").unlink(missing_ok=True)


def end(home: Home) -> None:
    """End what a supervisor left behind: asked first, killed when it does not listen.

    Children are told when their supervisor dies, so that this finds them on their way out, if at
    all; MongoDB's files must be free before the next one starts.
    """
    left = {name: pid for name, pid in noted(home).items() if _is_ours(home, pid)}
    for sign, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
        for name, pid in left.items():
            log.warning("ending what was left of another run", child=name, pid=pid)
            try:
                os.kill(pid, sign)
                os.kill(pid, signal.SIGCONT)  # one that is stopped cannot hear
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + patience_s
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = {name: pid for name, pid in left.items() if _is_ours(home, pid)}
    forget(home)


def _is_ours(home: Home, pid: int) -> bool:
    """Whether `pid` is alive and was started for this home: numbers are used again."""
    try:
        process = Path(f"/proc/{pid}")
        told = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(home.path) in told
