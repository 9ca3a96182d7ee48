"""What D-Bus starts when somebody asks for a name: as the files of its services say.

References: dbus-daemon(1), "Message Bus Starting Services" of the D-Bus specification
"""

import os
import re
from pathlib import Path
from typing import Final

FOLDERS: Final = (
    Path("/usr/share/dbus-1/system-services"),
    Path("/usr/local/share/dbus-1/system-services"),
    Path("/etc/dbus-1/system-services"),
    Path("/usr/share/dbus-1/services"),
    Path("/usr/local/share/dbus-1/services"),
)
MOST_FILE_BYTES: Final = 64 << 10
_UNITS: Final = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
_NAME = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)+")
_DAEMONS: Final = frozenset(b"dbus-daemon dbus-daemon-launch-helper dbus-broker-launch".split())


def is_daemon(executable: bytes) -> bool:
    """Whether a program is the bus, or its helper that starts others."""
    return executable.startswith(b"/usr/") and executable.rpartition(b"/")[2] in _DAEMONS


def starts(name: str, unit: str, program: bytes, folders: tuple[Path, ...] = FOLDERS) -> bool:
    """Whether asking for a name on the bus starts a unit; or, without a unit, a program."""
    if len(name) > 255 or not _NAME.fullmatch(name):  # noqa: PLR2004  (the specification's limit)
        return False
    for folder in folders:
        fields = _fields(folder / f"{name}.service")
        if unit:
            activated = fields.get(b"SystemdService", b"").decode("utf-8", "replace")
            if activated and unit in (activated, _target(activated)):
                return True
        elif program and fields.get(b"Exec", b" ").split(b" ", 1)[0] == program:
            return True
    return False


def _target(unit: str) -> str:
    """Return the unit that a unit's name stands for."""
    for folder in _UNITS:
        try:
            return (folder / unit.rpartition("/")[2]).readlink().name
        except OSError:
            continue
    return ""


def _fields(file: Path) -> dict[bytes, bytes]:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        content = os.read(fd, MOST_FILE_BYTES)
    except OSError:
        return {}
    finally:
        os.close(fd)
    found = (line.partition(b"=") for line in content.splitlines())
    return {name.strip(): value.strip() for name, sign, value in found if sign}
