"""Time: what the wall says, what the boot clock says, and how one becomes the other.

The boot clock is truth within a boot; the wall may be stepped at any moment.
"""

import time
from functools import cache
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

NS = 1_000_000_000
LIMIT = (1 << 63) - 1


def boot_ns() -> int:
    """Nanoseconds since boot, suspend included (CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wall_ns() -> int:
    """Nanoseconds since 1970-01-01 UTC."""
    return time.time_ns()


def wall_minus_boot_ns() -> int:
    """What to add to boot time to get wall time, as of now.

    The tightest of a few readings: whoever is held up between two clocks reads a wrong difference.
    """
    return min(_reading() for _ in range(3))[1]


def _reading() -> tuple[int, int]:
    before, wall, after = boot_ns(), wall_ns(), boot_ns()
    return after - before, wall - (before + after) // 2


@cache
def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def to_timestamp(ns: int) -> Timestamp:
    """Wall nanoseconds as a protobuf Timestamp."""
    return Timestamp(seconds=ns // NS, nanos=ns % NS)


def from_timestamp(timestamp: Timestamp) -> int:
    """A protobuf Timestamp as wall nanoseconds, kept within 64 bits (years 1678 to 2262).

    Whoever sends a timestamp may write anything into it; databases take 64 bits.
    """
    return min(max(timestamp.seconds * NS + timestamp.nanos, -LIMIT), LIMIT)


def rfc3339(ns: int) -> str:
    """Wall nanoseconds as RFC 3339 in UTC with exactly three fraction digits."""
    seconds, rest = divmod(ns, NS)
    moment = time.gmtime(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{rest // 1_000_000:03d}Z"
