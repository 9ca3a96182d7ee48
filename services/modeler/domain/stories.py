"""Novelties that belong together are one story: a person reads stories, not behaviours."""

from collections.abc import Iterable

from services.modeler.domain.evidence import KEPT, Evidence

QUIET_UNITS = 6
"""After so many quiet units a novelty begins a new story."""
HERD = ""


def starts(evidence: Iterable[Evidence], longest_units: int) -> list[int]:
    """Return the unit in which each story starts, ascending.

    A novelty is told of the host that showed it, or of the herd when at least 3 hosts did; within
    a host (or the herd) novelties at most `QUIET_UNITS` apart are one story, for `longest_units` at
    most: what never comes to rest would be one story without end, and look settled.
    """
    told: dict[str, list[int]] = {}
    for item in evidence:
        if item.units:
            teller = item.hosts[0] if 0 < len(item.hosts) < KEPT else HERD
            told.setdefault(teller, []).append(item.units[0])
    found = []
    for units in told.values():
        began = before = min(units) - longest_units - QUIET_UNITS - 1
        for unit in sorted(units):
            if unit - before > QUIET_UNITS or unit - began >= longest_units:
                found.append(unit)
                began = unit
            before = unit
    return sorted(found)
