"""One job of the real cron, begun early: it runs within a minute, while other tests do."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.running import a_name, remove_user


@contextmanager
def a_job(folder: Path) -> Iterator[str | None]:
    """Add an account by cron, once; yields its name, None where there is no cron."""
    if shutil.which("cron") is None or os.geteuid() != 0:
        yield None
        return
    account, done = a_name(), folder / "cron-ran"
    table = Path(f"/etc/cron.d/{account}")
    job = f"mkdir {done} && /usr/sbin/useradd -M {account}"
    table.write_text(f"* * * * * root {job} 2>/dev/null\n")
    table.chmod(0o644)
    running = subprocess.run(["pgrep", "-x", "cron"], capture_output=True, check=False)
    daemon = subprocess.Popen(["setsid", "cron", "-f"]) if running.returncode else None
    try:
        yield account
    finally:
        table.unlink()
        if daemon is not None:
            daemon.kill()
            daemon.wait()
            Path("/run/crond.pid").unlink(missing_ok=True)
        remove_user(account)
