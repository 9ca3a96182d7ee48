"""Marks of what was removed on purpose: which bodies they account for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONDITIONS = {
    "host": "host_id",
    "day": "day",
    "sealed_to": "sealed_to_ns",
    "from": "from_ns",
    "to": "to_ns",
    "received_before": "received_before_ns",
    "who": "who",
    "reason": "reason",
    "why": "why",
}
"""Name in a stored mark -> field here."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a mark goes by."""

    host_id: str
    day: str
    """Name of the day's collection."""
    sealed_ns: int
    first_ns: int
    last_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Removal:
    """Bodies that were removed; all conditions hold at once."""

    removal_id: str
    why: str
    """RETENTION, QUOTA or AUTHORITY."""
    received_before_ns: int
    """Only batches that had come before: what comes later was not removed by this."""
    host_id: str = ""
    """Empty: of all hosts."""
    day: str = ""
    """Name of the day's collection; empty: of all days."""
    sealed_to_ns: int | None = None
    """Sealed not after."""
    from_ns: int | None = None
    """With events not before."""
    to_ns: int | None = None
    """With events not after."""
    who: str = "store"
    reason: str = ""

    def covers(self, batch: Batch) -> bool:
        """Whether this is why the body of `batch` is not there."""
        return (
            self.host_id in ("", batch.host_id)
            and self.day in ("", batch.day)
            and batch.received_ns < self.received_before_ns
            and (self.sealed_to_ns is None or batch.sealed_ns <= self.sealed_to_ns)
            and (self.from_ns is None or batch.last_ns >= self.from_ns)
            and (self.to_ns is None or batch.first_ns <= self.to_ns)
        )


def of_document(row: Mapping[str, Any]) -> Removal:
    """Return a mark as it is stored."""
    fields: dict[str, Any] = {field: row.get(name) for name, field in CONDITIONS.items()}
    return Removal(removal_id=row["_id"], **fields)
