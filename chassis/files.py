"""Files that are replaced in one step."""

import os
import secrets
from pathlib import Path


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step, so that a reader sees the old or the new, never half."""
    # A name nobody can foresee, and never one that is there: the folder may be another user's.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(fresh, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def settle(folder: Path) -> None:
    """Make what was replaced in `folder` so far survive a loss of power, before what comes next."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
