"""`nightherd replay`: hands recorded batches, or logs, to the agent, as an importer."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from chassis.authority import Authority
from cli.environment import environment
from cli.homes import Home

RECEIVERS = ("store", "detector", "modeler")
"""Programs of those that run here that take batches."""
# It names a folder as well, so it begins with nothing that leads elsewhere.
IMPORTED_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}", re.ASCII)


def run_replay(
    home: Home, files: Sequence[Path], herd: str, host_id: str, rate: float, format_: str
) -> int:
    """Replay `files` into the services that run on this machine; return the exit status."""
    if host_id and not IMPORTED_ID.fullmatch(host_id):
        print(
            f"nightherd: {host_id!r} can be no host's id: letters, digits, - and _ to begin with, "
            "then also . and :, at most 128",
            file=sys.stderr,
        )
        return 2
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        print(f"nightherd: no such file: {', '.join(missing)}", file=sys.stderr)
        return 2
    try:
        ports = json.loads((home.state / "ports.json").read_text(encoding="ascii"))
    except (OSError, ValueError):
        print(f"nightherd: nothing runs from {home.path}: start `nightherd up`", file=sys.stderr)
        return 4
    identity = host_id or _identity(files)
    folder = home.path / "imports" / identity
    Authority.open(home.ca).issue(folder / "tls", "importer", herd=herd)
    settings = {
        "dir": str(folder),
        "tls_dir": str(folder / "tls"),
        **{name: f"127.0.0.1:{ports[name]}" for name in RECEIVERS if name in ports},
    }
    command = [sys.executable, "-m", "agent", "replay", "--host-id", identity, "--herd", herd]
    command += ["--events-per-second", str(rate), "--format", format_, "--", *map(str, files)]
    return subprocess.run(command, env=environment("agent", **settings), check=False).returncode


def _identity(files: Sequence[Path]) -> str:
    """Return an id that follows from what is imported: importing twice changes nothing.

    The same files make the same host; its spool in the home knows what was sent.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"import-{digest.hexdigest()[:16]}"
