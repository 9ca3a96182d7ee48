"""What /proc says about a process that psutil does not: audit ids, session, cgroup, exact start."""

import os
from dataclasses import dataclass
from typing import Final

from agent.sensors.records import UNSET_ID

NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_TTY_MAJORS: Final = {4: "tty", 136: "pts/", 204: "ttyAMA", 229: "hvc"}
_PTS_MAJORS: Final = range(136, 144)
_SERIAL_MINOR: Final = 64


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that we use."""

    ppid: int
    session_leader: int
    terminal: str
    start_ns: int
    """Fork time, boot clock, cut to a tick (10 ms)."""


def terminal_name(device: int) -> str:
    """Name of a device number in /proc/PID/stat: "pts/3", "tty1", "ttyS0"; "" for none."""
    if device == 0:
        return ""
    major, minor = os.major(device), os.minor(device)
    if major in _PTS_MAJORS:
        return f"pts/{(major - _PTS_MAJORS.start) * 256 + minor}"
    if major == 4 and minor >= _SERIAL_MINOR:  # noqa: PLR2004 - Linux allocated devices
        return f"ttyS{minor - _SERIAL_MINOR}"
    return f"{_TTY_MAJORS.get(major, f'tty{major}:')}{minor}"


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 8192)
    except OSError:
        return b""
    finally:
        os.close(fd)


def stat(pid: int) -> Stat | None:
    """Its stat line; None when the process is gone."""
    text = _read(f"/proc/{pid}/stat")
    # The name in parentheses may hold anything, ") " too: count from the last parenthesis.
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:  # noqa: PLR2004 - proc(5)
        return None
    return Stat(
        ppid=int(fields[1]),
        session_leader=int(fields[3]),
        terminal=terminal_name(int(fields[4]) & 0xFFFFFFFF),
        start_ns=int(fields[19]) * NS_PER_TICK,
    )


def audit_id(pid: int, name: str) -> int:
    """Its "loginuid" or "sessionid"; UNSET_ID when there is none or it cannot be read."""
    text = _read(f"/proc/{pid}/{name}")
    return int(text) if text.strip().isdigit() else UNSET_ID


def user_ids(pid: int) -> tuple[int, int]:
    """Its real and effective user; (UNSET_ID, UNSET_ID) when they cannot be read."""
    _, found, rest = _read(f"/proc/{pid}/status").partition(b"\nUid:")
    fields = rest[:64].split()
    if not found or len(fields) < 2:  # noqa: PLR2004
        return UNSET_ID, UNSET_ID
    return int(fields[0]), int(fields[1])


def cgroup(pid: int) -> str:
    """Its path in the cgroup v2 tree, or where that says nothing in systemd's own v1 tree."""
    unified, named = "", ""
    for line in _read(f"/proc/{pid}/cgroup").decode("utf-8", "replace").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            unified = path
        elif controllers == "name=systemd":
            named = path
    return named if unified in ("", "/") and named else unified
