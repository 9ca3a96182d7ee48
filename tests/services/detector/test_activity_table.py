"""The corpus of activities.yaml: every entry carries its evidence, and it holds."""

import pytest

from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from services.detector import packaged
from services.detector.domain.activity_table import name_of_type
from services.detector.engine import Models, Rules, judge
from tests.builders import a_body, a_person, an_event
from tests.services.detector.judged import a_header

OPERATIONS = {
    "write": events.FileChange.OPERATION_MODIFIED,
    "create": events.FileChange.OPERATION_CREATED,
    "delete": events.FileChange.OPERATION_DELETED,
    "rename": events.FileChange.OPERATION_RENAMED,
    "chmod": events.FileChange.OPERATION_ATTRIBUTES,
    "setuid": events.FileChange.OPERATION_ATTRIBUTES,
    "link": events.FileChange.OPERATION_LINKED,
    "truncate": events.FileChange.OPERATION_TRUNCATED,
    "setcap": events.FileChange.OPERATION_ATTRIBUTES,
    "ask_setuid": events.FileChange.OPERATION_ATTRIBUTES,
}
KINDS = {
    "account_change": events.AccountChange(name=b"bob"),
    "firewall_change": events.FirewallChange(operation="nft_register_table"),
    "privilege_use": events.PrivilegeUse(command=b"ls"),
    "session_start": events.SessionStart(session_id=3, provenance=events.PROVENANCE_INTERACTIVE),
    "session_end": events.SessionEnd(session_id=3),
    "package_change": events.PackageChange(name="nginx", version="1.2", manager="dpkg"),
    "service_change": events.ServiceChange(unit="nginx.service", succeeded=True),
    "kernel_change": events.KernelChange(name="evil"),
    "time_change": events.TimeChange(step_ns=-(10**12)),
    "auth_failure": events.AuthFailure(account=b"root"),
}
DOCUMENT = packaged.document("activities.yaml")


def examples(which):
    return [
        pytest.param(entry["type"], example, id=f"{entry['type']}-{number}")
        for entry in DOCUMENT["types"]
        for number, example in enumerate(entry["examples"][which])
    ]


def activities_of(example):
    image, event = a_person("/usr/bin/vim"), None
    for name, operation in OPERATIONS.items():
        if name in example:
            change = events.FileChange.Change(path=example[name].encode(), operation=operation)
            if operation == events.FileChange.OPERATION_ATTRIBUTES:
                change.mode = 0o4755 if name == "setuid" else 0o755
            if name == "ask_setuid":  # and it was gone when the mode was read
                change.ClearField("mode")
                change.requested_mode = 0o4755
            if name == "setcap":
                change.attribute = "security.capability"
            event = an_event(file_change=events.FileChange(changes=[change]))
    if "event" in example:
        event = an_event(**{example["event"]: KINDS[example["event"]]})
    if "connect" in example:
        image = a_person(example.get("by", "/usr/bin/curl"))
        path = example["connect"].encode()
        event = an_event(connect=events.Connect(protocol=events.PROTOCOL_UNIX, path=path))
    if "run" in example:
        arguments = list(example["run"])
        image = a_person(
            arguments[0],
            [example.get("argv0", arguments[0]), *arguments[1:]],
            script=example.get("script", "").encode(),
        )
        event = an_event()
    rules = Rules(packaged.table(), packaged.default_policy())
    found = judge(a_body((image, event)), a_header(), Models(), rules)
    return [f.activity for f in found if f.HasField("activity")]


@pytest.mark.parametrize(("type_", "example"), examples("fires"))
def test_it_fires(type_, example):
    found = activities_of(example)
    assert [name_of_type(a.type) for a in found] == [type_]
    assert list(found[0].affected_services) == example.get("targets", [])


@pytest.mark.parametrize(("type_", "example"), examples("silent"))
def test_it_stays_silent(type_, example):
    assert type_ not in [name_of_type(a.type) for a in activities_of(example)]


def test_every_type_of_the_contract_has_an_entry_and_a_verdict():
    types = set(pb.ActivityType.values()) - {pb.ACTIVITY_TYPE_UNSPECIFIED}
    assert set(packaged.table().entries) == types
    assert set(packaged.default_policy().activities) == types


def test_every_kind_of_event_makes_an_activity_or_has_a_reason_why_not():
    kinds = {field.name for field in events.Event.DESCRIPTOR.oneofs_by_name["kind"].fields}
    made = set(packaged.table().by_event)
    assert made | set(DOCUMENT["without"]) == kinds
    assert not made & set(DOCUMENT["without"])
    assert all(len(reason) > 10 for reason in DOCUMENT["without"].values())


def test_every_capability_has_a_verdict():
    from behaviour.capabilities import capabilities

    names = {c.name for c in capabilities() if c.sensed}
    assert names <= set(packaged.default_policy().capabilities)
