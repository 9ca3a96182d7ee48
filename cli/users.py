"""Who the programs run as, when the supervisor is root."""

import contextlib
import os
import pwd
import subprocess
import sys
from pathlib import Path

from cli.environment import environment

# Bits of capabilities(7).
_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID = 0, 6, 7
_NEEDED = 1 << _CAP_CHOWN | 1 << _CAP_SETGID | 1 << _CAP_SETUID


def unprivileged_user() -> tuple[int, int] | None:
    """Return who everything but the agent runs as; None when we cannot become anybody else."""
    if os.geteuid() != 0 or not _can_become_others():
        return None
    for name in ("nightherd", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return None


def _can_become_others() -> bool:
    """Whether root has a root's power here: in a container it may not."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(effective.split()[1], 16) & _NEEDED == _NEEDED


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
            timeout=300,  # on the slowest of hosts
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return run.returncode == 0
