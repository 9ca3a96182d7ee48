"""From a batch to what it teaches."""

from dataclasses import dataclass, field
from typing import NamedTuple

from behaviour.behaviours import Behaviour, Facet, behaviours_of, has_model
from nightherd.event.v1 import event_pb2 as events
from services.modeler.domain.calendar import Calendar
from services.modeler.domain.evidence import Evidence, merge, smallest

LONGEST_SERVICE = 4096
"""A service is a unit or a path; what is longer is neither."""
LONGEST_SUBJECT = 4 * 4096
"""The longest path there is, each byte escaped; what is longer no kernel said."""
LAST_SECOND = 253_402_300_799
"""The last one of the year 9999: the last a Timestamp can tell."""


class Learned(NamedTuple):
    """What identifies a behaviour document."""

    herd: str
    service: str
    facet: Facet
    subject: str


class Sight(NamedTuple):
    """A service on a host."""

    herd: str
    service: str
    host_id: str


@dataclass(slots=True)
class Lesson:
    """What one or more batches teach.

    Attributes:
        behaviours: evidence of each behaviour.
        sights: per service and host the first and last moment, in seconds cut to the grain.
        spans: (herd, service, span) in which a service was active.
    """

    behaviours: dict[Learned, Evidence] = field(default_factory=dict)
    sights: dict[Sight, tuple[int, int]] = field(default_factory=dict)
    spans: set[tuple[str, str, int]] = field(default_factory=set)

    def add(self, other: "Lesson") -> None:
        """Take in what another lesson says."""
        for learned, evidence in other.behaviours.items():
            known = self.behaviours.get(learned)
            self.behaviours[learned] = evidence if known is None else merge(known, evidence)
        for sight, (first, last) in other.sights.items():
            seen = self.sights.get(sight, (first, last))
            self.sights[sight] = (min(first, seen[0]), max(last, seen[1]))
        self.spans |= other.spans


def lesson(body: events.EventBatch, herd: str, host_id: str, calendar: Calendar) -> Lesson:
    """Return what a batch teaches: the work of services and scheduled jobs, nothing of people.

    What should not become evidence (a gap, an incident's window, a judged attack) is to be left out
    here: everything after this counts.
    """
    found = Lesson()
    images = body.images
    services = [image.service if has_model(image) else "" for image in images]
    services = [service if len(service) <= LONGEST_SERVICE else "" for service in services]
    if not any(services):
        return found
    now: dict[tuple[str, Behaviour], set[int]] = {}
    for event in body.events:
        if not event.HasField("actor"):
            continue
        actor = event.actor
        if not 0 <= actor < len(services) or not services[actor]:
            continue
        service = services[actor]
        seconds = event.event_time.seconds
        if not 0 <= seconds <= LAST_SECOND:
            continue
        _see(found, Sight(herd, service, host_id), seconds, calendar)
        if _ambiguous(event):
            continue
        unit = calendar.unit(seconds)
        for behaviour in behaviours_of(event, images):
            if len(behaviour.subject) > LONGEST_SUBJECT:
                continue
            now.setdefault((service, behaviour), set()).add(unit)
    for (service, (facet, subject)), units in now.items():
        found.behaviours[Learned(herd, service, facet, subject)] = Evidence(
            smallest(units),
            smallest(calendar.span_of_unit(unit) for unit in units),
            (host_id,),
            max(units),
        )
    return found


def _see(found: Lesson, sight: Sight, seconds: int, calendar: Calendar) -> None:
    grain = calendar.grain(seconds)
    first, last = found.sights.get(sight, (grain, grain))
    found.sights[sight] = (min(first, grain), max(last, grain))
    found.spans.add((sight.herd, sight.service, calendar.span(seconds)))


def _ambiguous(event: events.Event) -> bool:
    """Whether others may have done it: then it is nobody's habit."""
    return (
        event.attribution == events.ATTRIBUTION_INFERRED
        and event.HasField("file_change")
        and len(event.file_change.candidate_exec_ids) > 0
    )
