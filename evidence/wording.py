"""What happened, in one sentence each: the templates of timeline.yaml, filled in.

Every piece is made safe to read before it is put in. Pieces never are templates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from chassis.text import show
from evidence import phrases, pieces
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.event.v1 import event_pb2 as events


@cache
def templates() -> dict[str, Any]:
    """Return the templates by kind of entry."""
    text = Path(__file__).with_name("timeline.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def event_sentence(event: events.Event, image: events.Image | None) -> str:
    """Return what an event by `image` (None: nobody known) says."""
    kind = event.WhichOneof("kind")
    template = templates()["events"].get(kind)
    if template is None:
        return "Something happened that this version has no words for"
    sentence: str = template.format_map(
        {**pieces.actor(image), **pieces.of_event(event), "gap": gap_sentence(event.gap)}
    )
    return _times(sentence, event.count)


def gap_sentence(gap: events.Gap) -> str:
    """Return what is missing and why."""
    names = events.Gap.Cause
    name = names.Name(gap.cause) if gap.cause in names.values() else "CAUSE_UNSPECIFIED"
    sentence: str = templates()["gaps"][name].format_map(pieces.of_gap(gap))
    return sentence


def activity_sentence(finding: findings.Finding, count: int) -> str:
    """Return what an activity is, all its occurrences taken together."""
    activity = finding.activity
    names = findings.ActivityType
    kind = activity.type if activity.type in names.values() else names.ACTIVITY_TYPE_UNSPECIFIED
    actor = finding.actor
    sentence: str = templates()["activities"][names.Name(kind)].format_map(
        {
            "who": phrases.who(actor.user, actor.service),
            "program": phrases.program(actor.executable),
            "command": phrases.command(actor.command),
            "services": enumerated(activity.affected_services, "a service"),
            "files": files(activity.modified_files),
            "terminal": phrases.on(actor.terminal),
            "origin": phrases.origin(actor.source_address),
        }
    )
    return _times(sentence, count)


def alert_sentence(finding: findings.Finding, count: int) -> str:
    """Return what an alert says."""
    alert = finding.alert
    severity = {1: "Low", 2: "Medium", 3: "High"}.get(alert.severity, "Unrated")
    sentence: str = templates()["alert"].format_map(
        {"severity": severity, "message": show(alert.message)}
    )
    return _times(sentence, count)


@dataclass(frozen=True, slots=True)
class Incident:
    """What is said of an incident, as it is stored."""

    users: Sequence[str]
    session_id: int | None
    service: str
    attacks: Sequence[str]
    alerts: int
    high: int
    acknowledged_by: str = ""
    note: str = ""


def incident_sentence(moment: str, incident: Incident) -> str:
    """Return what a moment of an incident ("began", "ended", "acknowledged") says."""
    template = templates()["incidents"].get(moment)
    if template is None:
        return "Something became of an incident that this version has no words for"
    people = enumerated(incident.users, "somebody")
    whose = f"{people} in session {incident.session_id}"
    if incident.session_id is None:
        whose = f"service {show(incident.service)}" if incident.service else "no known service"
    high = f", {incident.high} of them high" if incident.high else ""
    sentence: str = template.format_map(
        {
            "whose": whose,
            "attacks": enumerated(incident.attacks, "alerts"),
            "alerts": f"{incident.alerts} alert{'' if incident.alerts == 1 else 's'}{high}",
            "by": show(incident.acknowledged_by) or "Somebody",
            "note": f" ({show(incident.note)})" if incident.note else "",
        }
    )
    return sentence


def files(paths: Iterable[bytes]) -> str:
    """Return "/etc/passwd and 4 more files"."""
    named = list(dict.fromkeys(paths))
    if not named:
        return "files"
    return show(named[0]) + phrases.files(len(named) - 1)


def enumerated(names: Iterable[str], none: str) -> str:
    """Return "one and 2 more"."""
    named = list(dict.fromkeys(names))
    if not named:
        return none
    return show(named[0]) + (f" and {len(named) - 1} more" if len(named) > 1 else "")


def _times(sentence: str, count: int) -> str:
    if count <= 1:
        return sentence
    repeated: str = templates()["times"].format_map({"sentence": sentence, "count": count})
    return repeated
