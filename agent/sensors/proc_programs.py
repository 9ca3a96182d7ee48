"""Which file a process runs and how, as /proc tells afterwards: for what ran before the agent."""

import os
import re
from typing import Final, NamedTuple

from nightherd.event.v1 import event_pb2 as events

_DELETED: Final = b" (deleted)"
_MEMORY_FILE: Final = b"/memfd:"
_MOST_ENVIRONMENT_BYTES: Final = 128 << 10
_VARIABLE: Final = re.compile(
    rb"(?:^|\0)(?:(LD_PRELOAD)|(LD_AUDIT)|(LD_LIBRARY_PATH)|(GLIBC_TUNABLES)"
    rb"|((?i:https?_proxy|all_proxy)))="
)
_OF_VARIABLES: Final = (
    events.TRAIT_LD_PRELOAD,
    events.TRAIT_LD_AUDIT,
    events.TRAIT_LD_LIBRARY_PATH,
    events.TRAIT_GLIBC_TUNABLES,
    events.TRAIT_PROXY,
)
"""By the groups of the expression."""


class Program(NamedTuple):
    """A program that runs. What is not ours to see is empty."""

    path: bytes
    device: int = 0
    """As the kernel numbers it: major << 20 | minor."""
    inode: int = 0
    mount_namespace: int = 0
    traits: int = 0
    """As ProcessRecord.traits."""


def link(pid: int, name: str) -> bytes:
    """Return what a link of a process points to; b"" when it is gone, hidden or too long."""
    try:
        return os.readlink(b"/proc/%d/%b" % (pid, name.encode()))  # noqa: PTH115 - bytes
    except OSError:
        return b""


def program_of(pid: int) -> Program:
    """Return what a process runs."""
    path = link(pid, "exe")
    if not path:
        return Program(b"")
    try:
        status = os.stat(f"/proc/{pid}/exe")  # noqa: PTH116 - a Path a process is slow
        namespace = os.stat(f"/proc/{pid}/ns/mnt").st_ino  # noqa: PTH116
    except OSError:
        return Program(path)
    traits = _environment(pid)
    if path.endswith(_DELETED) and not os.path.lexists(path):
        path = path.removesuffix(_DELETED)
        in_memory = path.startswith(_MEMORY_FILE) and not status.st_nlink
        traits |= 1 << (events.TRAIT_MEMORY_FILE if in_memory else events.TRAIT_DELETED_FILE)
    device = os.major(status.st_dev) << 20 | os.minor(status.st_dev)
    return Program(path, device, status.st_ino, namespace, traits)


def _environment(pid: int) -> int:
    """Return traits of the variables that change how a program runs."""
    try:
        fd = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        content = os.read(fd, _MOST_ENVIRONMENT_BYTES)
    except OSError:
        return 0
    finally:
        os.close(fd)
    traits = 0
    for found in _VARIABLE.finditer(content):
        traits |= 1 << _OF_VARIABLES[(found.lastindex or 1) - 1]
    return traits
