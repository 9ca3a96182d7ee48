"""What is kept as evidence of a behaviour: the few smallest of each, so that merging is a law.

Merging is commutative, associative and idempotent, and its result is bounded: replay and any order
of arrival give the same.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

KEPT = 3
"""How many units, spans and hosts are kept: enough to tell one from several."""

Item = TypeVar("Item", int, str)


class Evidence(NamedTuple):
    """Who showed a behaviour, and when.

    Attributes:
        units: the smallest unit numbers, ascending.
        spans: the smallest span numbers, ascending.
        hosts: the smallest host ids, ascending.
        last_unit: the largest unit number.
    """

    units: tuple[int, ...]
    spans: tuple[int, ...]
    hosts: tuple[str, ...]
    last_unit: int


def merge(one: Evidence, other: Evidence) -> Evidence:
    """Return what both say together."""
    return Evidence(
        smallest(one.units + other.units),
        smallest(one.spans + other.spans),
        smallest(one.hosts + other.hosts),
        max(one.last_unit, other.last_unit),
    )


def smallest(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the few smallest distinct items, ascending."""
    return tuple(sorted(set(items))[:KEPT])
