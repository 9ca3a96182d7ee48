"""Novelties that belong together are one story: a person reads stories, not behaviours."""

from collections.abc import Iterable

from services.modeler.domain.evidence import KEPT, Evidence

QUIET_UNITS = 6
"""After so many quiet units a novelty begins a new story."""
HERD = ""


def starts(evidence: Iterable[Evidence]) -> list[int]:
    """Return the unit in which each story starts, ascending.

    A novelty is told of the host that showed it, or of the herd when at least 3 hosts did; within
    a host (or the herd) novelties less than `QUIET_UNITS` apart are one story.
    """
    told: dict[str, list[int]] = {}
    for item in evidence:
        if item.units:
            teller = item.hosts[0] if 0 < len(item.hosts) < KEPT else HERD
            told.setdefault(teller, []).append(item.units[0])
    found = []
    for units in told.values():
        before: int | None = None
        for unit in sorted(units):
            if before is None or unit - before > QUIET_UNITS:
                found.append(unit)
            before = unit
    return sorted(found)
