"""What a batch says about its host, read from the body only where the index says it is there."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from chassis import clock
from delivery.checks import Checked
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

TOLD = frozenset({"host_facts", "agent_status", "gap"})
"""Kinds of events that the store itself reads."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one batch says."""

    facts: tuple[int, events.HostFacts] | None
    status: tuple[int, events.AgentStatus] | None
    gaps: tuple[tuple[int, events.Gap], ...]
    """(place in the body, gap)."""


NOTHING = Reading(None, None, ())


def read(checked: Checked) -> Reading:
    """Return what `checked` says about its host; NOTHING when its index names none of it."""
    if TOLD.isdisjoint(count.kind for count in checked.batch.index.counts):
        return NOTHING
    try:
        body = checked.body()
    except DecodeError:
        return NOTHING
    facts: tuple[int, events.HostFacts] | None = None
    status: tuple[int, events.AgentStatus] | None = None
    gaps: list[tuple[int, events.Gap]] = []
    for place, event in enumerate(body.events):
        kind = event.WhichOneof("kind")
        if kind not in TOLD:
            continue
        time = clock.from_timestamp(event.event_time)
        if kind == "host_facts":
            facts = max(facts or (-1, event.host_facts), (time, event.host_facts), key=_time)
        elif kind == "agent_status":
            status = max(status or (-1, event.agent_status), (time, event.agent_status), key=_time)
        else:
            gaps.append((place, event.gap))
    return Reading(facts, status, tuple(gaps))


def _time(value: tuple[int, object]) -> int:
    return value[0]


def skew_ms(checked: Checked, received_ns: int) -> int | None:
    """Return the host's clock minus ours in milliseconds; None for what was not sealed just now."""
    if checked.header.origin != delivery.ORIGIN_LIVE:
        return None
    return (clock.from_timestamp(checked.header.sealed_time) - received_ns) // 1_000_000


def dropped_gap(dropped: delivery.Dropped, now_ns: int) -> events.Gap:
    """Return the gap for batches that a spool gave up."""
    now = clock.to_timestamp(now_ns)
    return events.Gap(
        cause=events.Gap.CAUSE_SPOOL_EVICTION,
        start_time=now,
        end_time=now,
        precision=events.Gap.PRECISION_EXACT,
        lost=dropped.event_count,
        source="spool",
        detail=f"batches {dropped.first} to {dropped.last} were given up unsent",
    )


def linked(hashes: dict[int, bytes], checked: Checked) -> bool | None:
    """Whether the batch names the hash of the one before it; None when that one is not known."""
    header = checked.header
    if header.batch_number == 1:
        return not header.previous_hash
    before = hashes.get(header.batch_number - 1)
    return None if before is None else before == header.previous_hash
