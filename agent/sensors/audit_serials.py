"""Serials of one host's audit events: what is missing among them, and where the host was started.

The kernel numbers its events from 1 with each boot. Within a boot serials and times rise together,
but for records that come late: their serial is behind, and so is their time. A serial that is
behind while its time went on is another boot's. Two records say a boot outright: SYSTEM_BOOT of
systemd, and the DAEMON_START of an auditd that runs on another kernel than the one before; both
only where serials are as low as they are then.
"""

import re
from collections import deque
from typing import Final, NamedTuple

MOST_HOLES: Final = 64
MOST_MISSING: Final = 1 << 24
"""A larger step in serials is another boot, not a loss."""
LATE: Final = 4096
"""Serials by which a record may be behind the first one that is known of its boot."""
LATE_NS: Final = 1_000_000_000
"""A late record is no later than this after what came before it: no host boots so fast."""
BOOT_NS: Final = 600_000_000_000
"""SYSTEM_BOOT comes this soon after the first record of its boot, also on a slow host."""
EARLY: Final = 4096
"""Serials that a host may have used when it says that it was started."""
BOOTS: Final = frozenset(("SYSTEM_BOOT", "DAEMON_START"))
"""Types of records that may say that the host was started."""
_KERNEL = re.compile(rb"\bkernel=(\S{1,256})")
_SERIALS: Final = 1 << 32


class Hole(NamedTuple):
    """Serials that no record bears."""

    first: int
    serials: int
    since_ns: int
    """Wall time of the event before."""
    until_ns: int
    """Wall time of the event after."""


class Serials:
    """Watches the serials of one host, in the order in which its events began."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.restarts = 0
        """How often the host was started again."""
        self._holes: deque[Hole] = deque()
        self._expected: int | None = None
        self._first = 0
        self._before_ns = 0
        self._began_ns = self._latest_ns = 0
        self._announced = False
        """Whether this boot had its SYSTEM_BOOT."""
        self._kernel = b""
        self._kernel_boot = 0
        """The boot in which that kernel was named."""
        self._other_kernel = False
        """Whether the next serial is another boot's, if it is low."""

    def announced(self, kind: str, serial: int, wall_ns: int, text: bytes) -> None:
        """Note a record that may say that the host was started."""
        if kind == "SYSTEM_BOOT":
            self._announce(serial % _SERIALS, wall_ns)
            return
        found = _KERNEL.search(text)
        if found is None:
            return
        self._other_kernel = (
            self._kernel not in (b"", found[1]) and self._kernel_boot == self.restarts
        )
        self._kernel, self._kernel_boot = found[1], self.restarts

    def _announce(self, serial: int, wall_ns: int) -> None:
        if self._expected is not None:
            again = self._announced or wall_ns - self._began_ns > BOOT_NS
            if self._is_another_boot_s(serial, wall_ns) or (again and serial < EARLY):
                self._restart()
        self._announced = self._announced or serial < EARLY

    def follow(self, serial: int, wall_ns: int) -> None:
        """Note that an event with this serial began."""
        serial %= _SERIALS
        if self._other_kernel:
            self._other_kernel = False
            if serial < EARLY and self._expected is not None:
                self._restart()
                self._kernel_boot = self.restarts
        if self._expected is None:
            self._expected = self._first = serial
            self._began_ns = self._latest_ns = wall_ns
        ahead = (serial - self._expected) % _SERIALS
        if ahead:
            if ahead <= MOST_MISSING:
                self._holes.append(Hole(self._expected, ahead, self._before_ns, wall_ns))
            elif self._is_late(serial, wall_ns):
                self._came_late(serial)
                return
            else:
                self._restart()
                self._first, self._began_ns, self._latest_ns = serial, wall_ns, wall_ns
        self._expected, self._before_ns = (serial + 1) % _SERIALS, wall_ns
        self._latest_ns = max(self._latest_ns, wall_ns)

    def take_holes(self, before_ns: int) -> list[Hole]:
        """Return, and forget, holes that are older than `before_ns`; the oldest of too many."""
        holes: list[Hole] = []
        while self._holes and (
            self._holes[0].until_ns < before_ns or len(self._holes) > MOST_HOLES
        ):
            holes.append(self._holes.popleft())
        return holes

    def _restart(self) -> None:
        self.restarts += 1
        self._expected, self._announced = None, False

    def _is_another_boot_s(self, serial: int, wall_ns: int) -> bool:
        """Whether a serial is neither the next one, nor after a hole, nor late."""
        assert self._expected is not None  # noqa: S101  (asked only then)
        ahead = (serial - self._expected) % _SERIALS
        return ahead > MOST_MISSING and not self._is_late(serial, wall_ns)

    def _is_late(self, serial: int, wall_ns: int) -> bool:
        """Whether a serial that is behind is of this boot all the same, by serial and time."""
        assert self._expected is not None  # noqa: S101  (asked only then)
        if wall_ns > self._latest_ns + LATE_NS:
            return False
        behind = (self._expected - serial) % _SERIALS
        known = (self._expected - self._first) % _SERIALS
        if behind <= known:
            return wall_ns >= self._began_ns - LATE_NS
        return behind <= known + LATE and abs(wall_ns - self._began_ns) <= LATE_NS

    def _came_late(self, serial: int) -> None:
        """Take a serial out of the hole that it seemed to be in."""
        for place, hole in enumerate(self._holes):
            at = (serial - hole.first) % _SERIALS
            if at < hole.serials:
                after = hole._replace(first=(serial + 1) % _SERIALS, serials=hole.serials - at - 1)
                parts = [part for part in (hole._replace(serials=at), after) if part.serials]
                del self._holes[place]
                for part in reversed(parts):
                    self._holes.insert(place, part)
                return
