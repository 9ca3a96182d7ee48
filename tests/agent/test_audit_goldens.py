"""48 recorded kernel events, and what another reader of audit logs made of them."""

import json
from datetime import datetime

import pytest
import yaml

from agent.sensors.audit_assembly import Assembler
from agent.sensors.audit_calls import arguments_of, call_of, program_of, working_directory_of
from chassis import clock
from tests.agent.logs import import_files, import_lines

UNKNOWN = "unset"


@pytest.fixture(scope="module")
def goldens(shared_data):
    """(name, lines, golden) of every recorded event."""
    folder = shared_data / "go-libaudit" / "aucoalesce" / "testdata"
    found = []
    for path in sorted(folder.glob("*.yaml")):
        raw = yaml.safe_load(path.read_text())["tests"]
        for golden in json.loads((path.parent / f"{path.stem}.json.golden").read_text()):
            lines = [each.strip() for each in raw[golden["test_name"]].splitlines()]
            found.append((f"{path.stem}: {golden['test_name']}", lines, golden["event"]))
    assert len(found) == 48
    return found


def assembled(tmp_path, lines):
    path = tmp_path / "audit.log"
    path.write_text("\n".join(lines))
    from agent.auditd_log import AuditdLog

    assembler, rejects = Assembler(), []
    for run in AuditdLog([path], rejects.append):
        assembler.hold(*run)
    events = assembler.finish()
    assert rejects == []
    assert len(events) == 1
    return events[0]


def identity(event):
    """What we read of a kernel event, as the goldens word it."""
    call = call_of(event)
    arguments, cut = arguments_of(event)
    assert not cut
    place = next(
        (at for at, kind in enumerate(event.kinds) if kind not in ("SYSCALL", "CWD", "PATH")), 0
    )
    fields = event.record(place).fields
    if call is not None:
        result = "success" if call.succeeded else "fail"
        pid, ppid, exe = str(call.pid), str(call.ppid), call.executable.decode()
    else:
        word = {b"success": "success", b"1": "success", b"failed": "fail", b"0": "fail"}
        result = word.get(fields.get("res", b""))
        pid, ppid = fields.get("pid", b"").decode(), ""
        exe = program_of(fields.get("exe", b"")).decode()
    return {
        "time": event.wall_ns,
        "serial": event.serial,
        "result": result,
        "pid": pid,
        "ppid": ppid,
        "exe": exe,
        "cwd": (working_directory_of(event) or fields.get("cwd", b"")).decode(),
        "args": [each.decode() for each in arguments],
    }


def expected(golden):
    process = golden.get("process", {})
    moment = datetime.fromisoformat(golden["@timestamp"])
    return {
        "time": round(moment.timestamp() * 1000) * 1_000_000,
        "serial": golden["sequence"],
        "result": golden["result"],
        "pid": process.get("pid", ""),
        "ppid": process.get("ppid", ""),
        "exe": process.get("exe", "").removesuffix(" (deleted)"),
        "cwd": process.get("cwd", ""),
        "args": process.get("args", []),
    }


def test_every_recorded_event_has_the_golden_s_identity(goldens, tmp_path):
    differing = {}
    for name, lines, golden in goldens:
        ours, theirs = identity(assembled(tmp_path, lines)), expected(golden)
        if ours["result"] is None:  # a record that tells no result: they say what they think
            assert theirs["result"] in ("success", "unknown"), name
            theirs["result"] = None
        if ours != theirs:
            differing[name] = {
                key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]
            }
    assert differing == {}


def thing_of(imported):
    """(what was done, to what) of the only event that is not about a session."""
    (event,) = [e for e in imported.events if not e.WhichOneof("kind").startswith("session")]
    kind = event.WhichOneof("kind")
    fact = getattr(event, kind)
    if kind == "exec":
        (batch,) = imported.batches
        return kind, batch.images[event.actor].executable.decode()
    if kind == "file_change":
        return kind, fact.changes[0].path.decode()
    if kind == "connect":
        return kind, fact.remote_address
    names = {
        "auth_failure": "source_address",
        "service_change": "unit",
        "firewall_change": "table",
        "privilege_use": "command",
    }
    value = getattr(fact, names[kind])
    return kind, value.decode() if isinstance(value, bytes) else value


def test_what_we_have_an_event_for_is_about_the_same_thing(goldens, tmp_path):
    told = {}
    for name, lines, golden in goldens:
        imported = import_lines(tmp_path, *lines)
        imported.assert_nothing_vanished()
        facts = [e for e in imported.events if not e.WhichOneof("kind").startswith("session")]
        if facts:
            assert clock.from_timestamp(facts[0].event_time) == expected(golden)["time"], name
            told[name] = (thing_of(imported), golden["summary"]["object"])
    assert len(told) == 14
    for name, ((kind, ours), theirs) in told.items():
        if name.endswith("rename syscall"):  # theirs is the name before
            assert (kind, ours) == ("file_change", "/etc/audit/rules.d/audit.rules~")
        elif name.endswith("make-device"):  # theirs is the folder
            assert (kind, ours) == ("file_change", theirs["primary"] + "23.ref")
        elif name.endswith("AVC_AppArmor_unlink"):  # theirs is the rule it broke
            assert ours.startswith("/var/lib/apt/lists/partial/")
        elif kind == "service_change":
            assert ours == f"{theirs['primary']}.service"
        elif kind == "auth_failure":
            assert ours == theirs["secondary"]
        else:
            assert ours.startswith(theirs["primary"]), name


@pytest.mark.parametrize("folder", ["auditd-parser", "host-logs"])
def test_outside_logs_are_read_to_the_end_and_nothing_vanishes(shared_data, folder):
    paths = sorted((shared_data / folder).rglob("*.log"))
    assert paths
    lines = 0
    for path in paths:
        imported = import_files(path)
        imported.assert_nothing_vanished()
        lines += imported.reading.lines
    together = import_files(*paths)
    together.assert_nothing_vanished()
    assert together.reading.lines == lines


def test_unknown_types_are_kept_and_corrupt_lines_are_stated(shared_data):
    imported = import_files(shared_data / "host-logs" / "selinux.log")
    imported.assert_nothing_vanished()
    assert imported.making.unused["UNDER_SCORE"] == 1
    assert imported.making.unused["UNKNOWN[1323]"] == 1
    assert imported.making.unused["NOMSG"] == 1
    assert [why.partition(" ")[0] for why in imported.rejects] == [
        f"selinux.log:{number}:" for number in (2, 3, 4, 6, 7)
    ]


def test_an_enriched_log_names_its_people_and_tells_what_happened(shared_data):
    imported = import_files(shared_data / "host-logs" / "audit_enriched.log")
    imported.assert_nothing_vanished()
    ((added, actor, _),) = imported.told("account_change")
    assert (added.name, actor.executable) == (b"specimenuser", b"/usr/bin/useradd")
    assert (actor.login_user, actor.session_id) == ("root", 6)
    commands = [tuple(image.arguments) for _, image, _ in imported.told("exec")]
    assert commands == [
        (b"id",),
        (b"/bin/sh", b"-c", b"grep -c . /etc/hostname"),
        (b"/usr/bin/cat", b"/tmp/my report.txt"),
    ]
    starts = [start for start, _, _ in imported.told("session_start") if start.session_id == 7]
    assert starts[-1].source_address == "172.23.112.1"
    assert starts[-1].opener == b"/usr/libexec/openssh/sshd-session"
    assert not starts[-1].preexisting
