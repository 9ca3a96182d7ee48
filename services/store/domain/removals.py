"""Marks of what was removed on purpose, and which bodies they account for."""

import datetime as dt
import hashlib
from dataclasses import dataclass

from chassis import clock
from evidence.removals import Removal
from services.store.domain.places import BODIES, PREFIX, UNDATED

RETENTION, QUOTA, AUTHORITY = "retention", "quota", "authority"


@dataclass(frozen=True, slots=True)
class Sum:
    """Batches of one host and day, by their headers."""

    host_id: str
    batches: int
    events: int
    first_ns: int
    last_ns: int
    kept: int = 0
    """Batches beside these that incidents keep."""


@dataclass(slots=True)
class Extent:
    """Bodies that are there, and would go."""

    batches: int = 0
    events: int = 0
    size_bytes: int = 0


def of_day(day: str, cutoff_ns: int, days: int) -> Removal:
    """Return the mark for a day that retention drops: what had come before `cutoff_ns`."""
    reason = f"evidence is kept for {days} days"
    return Removal(f"{RETENTION}/{day}", RETENTION, cutoff_ns, day=day, reason=reason)


def of_headers(day: str) -> str:
    """Return the id of the mark for a day of which the headers go."""
    return f"headers/{day}"


def of_quota(host_id: str, day: str, sealed_to_ns: int, now_ns: int, quota: int) -> Removal:
    """Return the mark for the oldest bodies of a host that keeps too much."""
    return Removal(
        f"{QUOTA}/{day}/{host_id}",
        QUOTA,
        now_ns,
        host_id=host_id,
        day=day,
        sealed_to_ns=sealed_to_ns,
        reason=f"a host keeps {quota} bytes",
    )


def of_authority(
    host_id: str, span: tuple[int | None, int | None], who: str, reason: str, now_ns: int
) -> Removal:
    """Return the mark for an erasure; the same words about the same span are the same mark."""
    key = "\0".join((host_id, *map(str, span), who, reason))
    return Removal(
        f"{AUTHORITY}/{hashlib.sha256(key.encode()).hexdigest()}",
        AUTHORITY,
        now_ns,
        host_id=host_id,
        from_ns=span[0],
        to_ns=span[1],
        who=who,
        reason=reason,
    )


def cutoff(now_ns: int, days: int) -> dt.datetime:
    """Return the beginning of the first day (UTC) that is kept."""
    now = dt.datetime.fromtimestamp(now_ns // clock.NS, dt.UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # Nothing was recorded before: more days than that keep everything.
    return midnight - dt.timedelta(days=min(days, (midnight - EARLIEST).days))


EARLIEST = dt.datetime(1980, 1, 1, tzinfo=dt.UTC)


def nanoseconds(moment: dt.datetime) -> int:
    """Return a whole second as wall nanoseconds."""
    return int(moment.timestamp()) * clock.NS


def is_due(bodies: str, first_kept: dt.datetime, now_ns: int) -> bool:
    """Whether the day of the collection `bodies` is too old, or none at which anything was sealed.

    Days to come are of clocks that are wrong: then only when batches came counts.
    """
    day = PREFIX + bodies.removeprefix(BODIES)
    tomorrow = cutoff(now_ns, 0) + dt.timedelta(days=1)
    return (
        day == UNDATED or day < f"{PREFIX}{first_kept:%Y%m%d}" or day > f"{PREFIX}{tomorrow:%Y%m%d}"
    )
