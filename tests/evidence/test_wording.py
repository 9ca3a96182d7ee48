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


@pytest.mark.parametrize(
    ("kind", "said", "sentence"),
    [
        (
            "process_access",
            events.ProcessAccess(
                operation=1, target_pid=812, target_executable=b"/usr/sbin/sshd", target_user_id=0
            ),
            "which attached to process 812 (sshd) of root",
        ),
        (
            "process_access",
            events.ProcessAccess(operation=3, target_pid=9, target_user_id=33, signal=9),
            "which sent signal 9 to process 9 of user 33",
        ),
        (
            "privilege_gain",
            events.PrivilegeGain(previous_effective_user_id=1001, way=3),
            "which became root from user 1001 without a program or a call that explains it",
        ),
        (
            "namespace_change",
            events.NamespaceChange(operation=2, kinds=[3, 5]),
            "which entered existing namespaces (mount, process id)",
        ),
        (
            "mount_change",
            events.MountChange(
                operation=4, source=b"/tmp/x", target=b"/etc", watched_paths=[b"/etc/cron.d", b"/b"]
            ),
            "which bound /tmp/x to /etc, where /etc/cron.d and 1 more file is watched",
        ),
        ("raw_socket", events.RawSocket(family=3), "opened a packet socket"),
        (
            "file_read",
            events.FileRead(reads=[events.FileRead.Read(path=b"/etc/shadow")], reads_cut=2),
            "which read /etc/shadow; 2 further reads were left out",
        ),
        (
            "exec_failure",
            events.ExecFailure(requested_path=b"./x", error="ENOENT"),
            "which could not run ./x: ENOENT",
        ),
        (
            "connect",
            events.Connect(
                protocol=2, remote_address="8.8.8.8", remote_port=53, dns_names=["a.example", "b"]
            ),
            "sent packets to udp 8.8.8.8:53 and requested the address of a.example and 1 more name",
        ),
        ("connect", events.Connect(protocol=3, path=b"/run/x"), "connected to unix /run/x"),
        (
            "connect",
            events.Connect(remote_address="192.0.2.1", remote_port=143),
            "connected to 192.0.2.1:143",
        ),
        (
            "file_change",
            events.FileChange(
                changes=[{"path": b"/tmp/sh", "operation": 5, "requested_mode": 0o4755}]
            ),
            "which set the setuid bit of /tmp/sh",
        ),
    ],
)
def test_a_stranger_understands_what_a_process_did(kind, said, sentence):
    told = wording.event_sentence(an_event(**{kind: said}), a_person("/opt/x", login_user="alice"))
    assert told.startswith("alice (as root) ran x, which ")
    assert sentence in told


def test_a_sentence_says_how_a_program_ran_and_for_whom():
    image = an_image("/memfd:x", ["x", "-p"], service="run-u3.service")
    image.traits.extend([events.TRAIT_MEMORY_FILE, events.TRAIT_LD_PRELOAD, events.TRAIT_PROXY])
    image.born_from.CopyFrom(events.BornFrom(login_user="alice", way=5))
    assert wording.event_sentence(an_event(), image) == (
        "Service run-u3.service (for alice, by systemd-run) ran x -p, from memory, with LD_PRELOAD"
    )


def test_a_hash_is_said_in_hexadecimal_digits_or_why_there_is_none():
    told = events.FileHash(path=b"/bin/x", sha256=b"\xab" * 32)
    assert wording.event_sentence(an_event(file_hash=told), None) == (
        f"/bin/x has the SHA-256 {'ab' * 32}"
    )
    refused = events.FileHash(path=b"/bin/x", refusal="size")
    said = wording.event_sentence(an_event(file_hash=refused), None)
    assert said == "/bin/x was not hashed: larger than the limit"
