"""New filesystems that fanotify can watch on this kernel."""

import os
import subprocess
from pathlib import Path

TMPFS_HAS_AN_ID = tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (5, 13)


def new_filesystem(image: Path) -> list[str]:
    """Arguments of mount: tmpfs where events can name it, else ext4 in a file."""
    if TMPFS_HAS_AN_ID:
        return ["-t", "tmpfs", "none"]
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    return ["-o", "loop", str(image)]
