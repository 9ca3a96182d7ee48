"""What a batch says about its host, read from the body only where the index says it is there."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from chassis import clock
from delivery.checks import Checked
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

TOLD = frozenset({"host_facts", "agent_status", "gap", "session_start"})
"""Kinds of events that the store itself reads."""


MAX_GAPS = 500
"""Gaps of one batch that are listed; an agent that lies may send any number."""
MAX_SESSIONS = 500
"""The same for sessions."""
MACHINE = (events.PROVENANCE_SCHEDULED, events.PROVENANCE_USER_SERVICE)
"""Sessions of which there are many, and nothing becomes known late."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one batch says."""

    facts: tuple[int, events.HostFacts] | None
    status: tuple[int, events.AgentStatus] | None
    gaps: tuple[tuple[int, events.Gap], ...]
    """(place in the body, gap)."""
    sessions: tuple[tuple[int, events.SessionStart], ...] = ()
    """(event time, start) of sessions of people."""


NOTHING = Reading(None, None, ())


def read(checked: Checked) -> Reading:
    """Return what `checked` says about its host; NOTHING when its index names none of it."""
    counts = checked.batch.index.counts
    # An index that counts fewer events than the header leaves something out.
    whole = sum(count.count for count in counts) >= checked.header.event_count
    if whole and TOLD.isdisjoint(count.kind for count in counts):
        return NOTHING
    try:
        body = checked.body()
    except DecodeError:
        return NOTHING
    facts: tuple[int, events.HostFacts] | None = None
    status: tuple[int, events.AgentStatus] | None = None
    gaps: list[tuple[int, events.Gap]] = []
    sessions: list[tuple[int, events.SessionStart]] = []
    for place, event in enumerate(body.events):
        kind = event.WhichOneof("kind")
        if kind not in TOLD:
            continue
        time = clock.from_timestamp(event.event_time)
        if kind == "host_facts":
            facts = max(facts or (-1, event.host_facts), (time, event.host_facts), key=_time)
        elif kind == "agent_status":
            status = max(status or (-1, event.agent_status), (time, event.agent_status), key=_time)
        elif kind == "gap":
            if len(gaps) < MAX_GAPS:
                gaps.append((place, event.gap))
        elif event.session_start.provenance not in MACHINE and len(sessions) < MAX_SESSIONS:
            sessions.append((time, event.session_start))
    return Reading(facts, status, tuple(gaps), tuple(sessions))


def _time(value: tuple[int, object]) -> int:
    return value[0]


def skew_ms(checked: Checked, received_ns: int) -> int | None:
    """Return the host's clock minus ours in milliseconds; None for what was not sealed just now."""
    if checked.header.origin != delivery.ORIGIN_LIVE:
        return None
    return (clock.from_timestamp(checked.header.sealed_time) - received_ns) // 1_000_000


def dropped_gap(
    dropped: delivery.Dropped, settled: int, last_event_ns: int, now_ns: int
) -> events.Gap | None:
    """Return the gap for batches that a spool gave up; None when all of them are here.

    Args:
        dropped: what the agent said.
        settled: how far the chain is settled: what lies below is here, given up or not.
        last_event_ns: time of the host's latest event that is known.
        now_ns: time of the store.
    """
    first = max(dropped.first, settled + 1)
    if first > dropped.last:
        return None
    exact = first == dropped.first and dropped.event_count > 0
    return events.Gap(
        cause=dropped.cause or events.Gap.CAUSE_SPOOL_EVICTION,
        start_time=clock.to_timestamp(last_event_ns if 0 < last_event_ns < now_ns else now_ns),
        end_time=clock.to_timestamp(now_ns),
        precision=events.Gap.PRECISION_EXACT if exact else events.Gap.PRECISION_UNKNOWN,
        lost=dropped.event_count if exact else 0,
        source="spool",
        detail=f"batches {first} to {dropped.last} were given up unsent",
        first_batch=first,
        last_batch=dropped.last,
    )
