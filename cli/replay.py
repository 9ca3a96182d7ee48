"""`nightherd replay`: hands recorded batches, or logs, to the agent, as an importer."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chassis.authority import Authority
from chassis.errors import NightherdError
from chassis.tls import Identity
from cli.environment import environment
from cli.homes import Home
from cli.ports import known_ports

JOURNAL = "imports.json"
"""The agent's: what it began to import is in it."""
RECEIVERS = ("store", "detector", "modeler")
"""Programs of those that run here that take batches."""
# It names a folder as well, so it begins with nothing that leads elsewhere.
IMPORTED_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Replay:
    """How it is replayed."""

    herd: str = "default"
    host_id: str = ""
    """"": it follows from the files."""
    rate: float = 0
    """Events a second; 0: no limit."""
    format_: str = "batches"
    wait: float = 10
    """Seconds."""


def run_replay(home: Home, files: Sequence[Path], how: Replay) -> int:
    """Replay `files` into the services that run on this machine; return the exit status."""
    if how.host_id and not IMPORTED_ID.fullmatch(how.host_id):
        print(
            f"nightherd: {how.host_id!r} can be no host's id: letters, digits, - and _ to begin "
            "with, then also . and :, at most 128",
            file=sys.stderr,
        )
        return 2
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        print(f"nightherd: no such file: {', '.join(missing)}", file=sys.stderr)
        return 2
    ports = known_ports(home)
    if not any(name in ports for name in RECEIVERS):
        print(
            f"nightherd: nothing ever ran from {home.path}: start it (`make run`, or `nightherd "
            "up`), or name the home with --home",
            file=sys.stderr,
        )
        return 4
    identity = how.host_id or _identity(files)
    folder = home.path / "imports" / identity
    if (before := _herd_of(folder)) not in ("", how.herd):
        print(
            f"nightherd: host {identity} was imported into herd {before}, and stays there. To go "
            f"on: --herd {before}. To import this into herd {how.herd} too, as another host: "
            "--host-id NAME",
            file=sys.stderr,
        )
        return 2
    Authority.open(home.ca).issue(folder / "tls", "importer", herd=how.herd)
    settings = {
        # What goes well is said at the end.
        "NIGHTHERD_LOG_LEVEL": os.environ.get("NIGHTHERD_LOG_LEVEL", "warning"),
        "dir": str(folder),
        "tls_dir": str(folder / "tls"),
        **{name: f"127.0.0.1:{ports[name]}" for name in RECEIVERS if name in ports},
    }
    command = [sys.executable, "-m", "agent", "replay", "--host-id", identity]
    command += ["--herd", how.herd, "--format", how.format_, "--wait", str(how.wait)]
    command += ["--events-per-second", str(how.rate), "--", *map(str, files)]
    return subprocess.run(command, env=environment("agent", **settings), check=False).returncode


def _herd_of(folder: Path) -> str:
    """Return the herd of a host that was imported; "": nothing of it was."""
    if not (folder / JOURNAL).exists():
        return ""
    try:
        return Identity(folder / "tls").peer().herd
    except (OSError, ValueError, NightherdError):
        return ""


def _identity(files: Sequence[Path]) -> str:
    """Return an id that follows from what is imported: importing twice changes nothing.

    The same files make the same host; its spool in the home knows what was sent.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"import-{digest.hexdigest()[:16]}"
