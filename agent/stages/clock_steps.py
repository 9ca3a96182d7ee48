"""The clock was set: wall time went another way than time since boot, faster than by slewing."""

from collections.abc import Callable

from chassis import clock

STEP_NS = 500_000_000
SLEW_DIVISOR = 1_000
"""A clock that is adjusted gains or loses at most half a thousandth; twice that is allowed."""
_LOOKS = 3


class ClockSteps:
    """Follows the difference between wall clock and boot clock."""

    def __init__(self, read: Callable[[], int] = clock.wall_minus_boot_ns) -> None:
        """Begin with the difference as it is; `read` gives wall minus boot in nanoseconds."""
        self._read = read
        self.offset_ns = read()
        self._looked_ns: int | None = None

    def look(self, boot_ns: int) -> int:
        """Read the difference at `boot_ns`; return the step since the last look, 0 for none."""
        before, since_ns = self.offset_ns, self._looked_ns
        self.offset_ns, self._looked_ns = self._read(), boot_ns
        if since_ns is None:
            return 0
        most = STEP_NS + (boot_ns - since_ns) // SLEW_DIVISOR
        for _ in range(_LOOKS):
            if abs(self.offset_ns - before) <= most:
                return 0
            # Whoever is held up between two clocks reads a wrong difference: look again.
            self.offset_ns = min(self.offset_ns, self._read(), key=lambda ns: abs(ns - before))
        return self.offset_ns - before
