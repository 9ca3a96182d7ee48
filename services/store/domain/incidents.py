"""Which alerts are one story: those of one session on a host, else those of one service there.

An incident closes when no alert came for a day, by the time of events, or when somebody
acknowledges it: who did has not seen what is recorded later, which begins another one.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from chassis import clock
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.event.v1 import event_pb2 as events

QUIET_NS = 86_400 * clock.NS
MARGIN_NS = 600 * clock.NS
"""What happened so long before the first and after the last alert is kept with an incident."""
OPEN, QUIET, ACKNOWLEDGED = "open", "quiet", "acknowledged"
STATES = (OPEN, QUIET, ACKNOWLEDGED)
# Each run of a scheduled job has a session of its own: its story is the service's.
_OF_NOBODY = (
    events.PROVENANCE_SERVICE,
    events.PROVENANCE_SCHEDULED,
)


@dataclass(frozen=True, slots=True)
class Key:
    """What alerts of one incident have in common."""

    host_id: str
    boot_id: str = ""
    session_id: int | None = None
    """None: nobody's session."""
    service: str = ""
    """Empty with a session, and where no service is known."""

    def text(self) -> str:
        """Return it as one word, whatever text is in it."""
        parts = (self.host_id, self.boot_id, str(self.session_id), self.service)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Noted:
    """An alert's occurrence that is in no incident yet."""

    finding: findings.Finding
    received_ns: int

    @property
    def time_ns(self) -> int:
        """When it happened; a clock that is ahead must not keep an incident open."""
        return max(min(clock.from_timestamp(self.finding.event_time), self.received_ns), 0)


@dataclass(slots=True)
class Run:
    """Occurrences of one key, none a day apart from the next: they share an incident."""

    key: Key
    first_ns: int
    last_ns: int
    occurrence_ids: list[str]
    received_ns: int = 0
    """When the latest of them came."""

    def incident_id(self, attempt: int) -> str:
        """Return the id of the incident that it begins: the same for everybody who records it."""
        parts = (self.key.text(), min(self.occurrence_ids), str(attempt))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Extent:
    """What an incident keeps, and what it had no room for."""

    batches: int = 0
    size_bytes: int = 0
    left_out_batches: int = 0
    left_out_bytes: int = 0


def key_of(finding: findings.Finding) -> Key:
    """Return the key of an alert."""
    actor = finding.actor
    if actor.HasField("session_id") and actor.provenance not in _OF_NOBODY:
        # The exec_id begins with the boot: numbers of sessions begin anew with each.
        boot_id = actor.exec_id.partition(":")[0]
        return Key(finding.host_id, boot_id, actor.session_id)
    return Key(finding.host_id, service=actor.service)


def runs(noted: Iterable[Noted]) -> list[Run]:
    """Part occurrences into runs."""
    found: list[Run] = []
    latest: dict[Key, Run] = {}
    for one in sorted(noted, key=lambda each: (each.time_ns, each.finding.occurrence_id)):
        key, time_ns = key_of(one.finding), one.time_ns
        run = latest.get(key)
        if run is None or time_ns - run.last_ns > QUIET_NS:
            run = latest[key] = Run(key, time_ns, time_ns, [])
            found.append(run)
        run.last_ns = time_ns
        run.received_ns = max(run.received_ns, one.received_ns)
        run.occurrence_ids.append(one.finding.occurrence_id)
    return found


def state_of(*, acknowledged: bool, latest: bool, last_ns: int, now_ns: int) -> str:
    """Return the state of an incident; `latest`: none of the same key came after it."""
    if acknowledged:
        return ACKNOWLEDGED
    return OPEN if latest and last_ns >= now_ns - QUIET_NS else QUIET
