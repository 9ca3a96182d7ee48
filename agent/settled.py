"""Settings of the process that goes on, read and checked by one that is over.

What checks settings stays in memory for ever, 10 MB of it. So `python -m agent` checks them, and
executes itself anew with the values in a memory file; the pid stays the same.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from agent.settings import Settings

OPTION = "--settled"


def hand_over(settings: "Settings") -> NoReturn:
    """Become the process that works with `settings`."""
    values = settings.model_dump(mode="json")
    paths = [name for name in values if isinstance(getattr(settings, name), Path)]
    fd = os.memfd_create("settings", 0)  # inherited, unlike what Python opens otherwise
    with os.fdopen(fd, "w", encoding="utf-8", closefd=False) as file:
        json.dump({"values": values, "paths": paths}, file)
    command = [sys.executable, "-m", "agent", OPTION, str(fd)]
    os.execv(command[0], command)  # noqa: S606  (no shell is the point)


def receive(fd: int) -> "Settings":
    """Return the settings that were handed over."""
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, encoding="utf-8") as file:
        said = json.load(file)
    values = {
        name: Path(value) if name in said["paths"] else value
        for name, value in said["values"].items()
    }
    return cast("Settings", SimpleNamespace(**values))
