"""What is to be hashed, and what became of it."""

import os
from dataclasses import dataclass

from agent.lines import Ran
from nightherd.event.v1 import event_pb2 as events

Signature = tuple[int, int, int, int, int]
"""Device, inode, size, and when content and inode were changed (ns): a file that stays the same."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file that somebody ran or changed."""

    path: bytes
    """Absolute, as it was met."""
    ran: Ran | None
    """Who ran or changed it."""
    reason: "events.FileHash.Reason.ValueType"
    attribution: "events.Attribution.ValueType"
    pid: int = 0
    """Process that runs it, or whose root it lies in; 0: none."""
    inode: int = 0
    """Inode number that it must have; 0: any."""
    device: int = 0
    """Its device as the kernel numbers it, where the event told it; 0: not known."""
    elsewhere: bool = False
    """It was met in another mount namespace: its path may name another file here."""
    script: bool = False
    """It is the script of the program that `pid` runs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of a file now."""

    job: Job
    signature: Signature | None = None
    """None: it could not be looked at."""
    sha256: bytes = b""
    refusal: str = ""


def signature_of(status: os.stat_result) -> Signature:
    """Return what tells a file from another, and from itself after a change."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def kernel_device(device: int) -> int:
    """Return a device of stat as the kernel numbers it."""
    return os.major(device) << 20 | os.minor(device)
