"""Who the programs run as, when the supervisor is root."""

import contextlib
import os
import pwd
import subprocess
import sys
from pathlib import Path

from cli.environment import environment


def unprivileged_user() -> tuple[int, int] | None:
    """Return who everything but the agent runs as; None when we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("nightherd", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return None


def can_run_as(user: tuple[int, int], probe: Path) -> bool:
    """Whether `user` can read the programs, this Python and `probe`."""
    script = "import sys, grpc, motor, services.store.settings; open(sys.argv[1]).read()"
    try:
        run = subprocess.run(
            [sys.executable, "-c", script, str(probe)],
            user=user[0],
            group=user[1],
            extra_groups=[],
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return run.returncode == 0
