"""Every kind of entry has words, and hostile bytes stay readable in them."""

import re

import pytest

from evidence import wording
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.event.v1 import event_pb2 as events
from tests.builders import a_person, an_event, an_image, changes

KINDS = [field.name for field in events.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
EVIL = "\x1b[31m\u202e\n{who}{0}%s"


def _filled(message, depth=0):
    """Fill every text of a message with hostile text, every number with 3."""
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_MESSAGE:
            if depth < 2 and "Timestamp" not in field.message_type.name:
                child = getattr(message, field.name)
                _filled(child.add() if field.is_repeated else child, depth + 1)
            continue
        value = {
            field.TYPE_STRING: EVIL,
            field.TYPE_BYTES: EVIL.encode() + b"\xff",
            field.TYPE_BOOL: True,
            field.TYPE_ENUM: 1,
        }.get(field.type, 3)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    return message


def _is_readable(sentence):
    assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u202e\ud800-\udfff]+", sentence), sentence


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_event_has_words(kind):
    event = events.Event(count=2)
    getattr(event, kind).SetInParent()
    assert kind in wording.templates()["events"]
    for image in (None, an_image(), a_person()):
        _is_readable(wording.event_sentence(event, image))
    _filled(getattr(event, kind))
    evil = _filled(events.Image())
    sentence = wording.event_sentence(event, evil)
    _is_readable(sentence)
    assert sentence.endswith("(2 times)")


@pytest.mark.parametrize("cause", events.Gap.Cause.keys())
def test_every_cause_of_a_gap_has_words(cause):
    gap = events.Gap(cause=cause, precision=events.Gap.PRECISION_AT_LEAST, lost=7)
    _is_readable(wording.gap_sentence(gap))
    assert "7 events" in wording.gap_sentence(gap)
    _is_readable(wording.gap_sentence(_filled(events.Gap(cause=cause))))


@pytest.mark.parametrize("kind", findings.ActivityType.keys())
def test_every_type_of_activity_has_words(kind):
    finding = _filled(findings.Finding())
    finding.activity.type = findings.ActivityType.Value(kind)
    _is_readable(wording.activity_sentence(finding, 1))
    assert kind in wording.templates()["activities"]


def test_an_alert_says_its_message():
    alert = findings.Alert(message="x\x1b", severity=findings.SEVERITY_HIGH)
    said = wording.alert_sentence(findings.Finding(alert=alert), 3)
    assert said == "High alert: x\\x1b (3 times)"


def test_templates_name_nothing_that_is_not():
    assert set(wording.templates()["events"]) == set(KINDS)
    assert set(wording.templates()["gaps"]) == set(events.Gap.Cause.keys())
    assert set(wording.templates()["activities"]) == set(findings.ActivityType.keys())


def test_the_sentence_that_the_product_began_with():
    paths = ["/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/group", "/etc/subuid"]
    person = a_person("/usr/sbin/adduser", login_user="alice")
    said = wording.event_sentence(an_event(file_change=changes(*paths)), person)
    assert said == "alice (as root) ran adduser, which changed /etc/passwd and 4 more files"


def test_an_event_of_a_later_version_is_told_as_such():
    assert "no words" in wording.event_sentence(events.Event(), None)


@pytest.mark.parametrize("moment", wording.templates()["incidents"])
@pytest.mark.parametrize("session", [None, 7])
def test_every_moment_of_an_incident_has_words(moment, session):
    plain = wording.Incident([], session, "", [], 1, 0)
    evil = wording.Incident([EVIL, "b"], session, EVIL, [EVIL], 5, 2, EVIL, EVIL)
    for incident in (plain, evil):
        _is_readable(wording.incident_sentence(moment, incident))
    _is_readable(wording.incident_sentence("of another version", evil))
