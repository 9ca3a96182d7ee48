"""`nightherd events|timeline|tree` asks the real gateway."""

import json
import secrets

import pytest

from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.builders import T0, a_body, a_chain, a_person, an_event, an_image, changes, exec_id
from tests.services_client import STORE


@pytest.fixture
async def host(backend):
    host_id = secrets.token_hex(16)
    person = a_person("/usr/sbin/adduser", ["adduser", b"z\x1b"], pid=600, exec_id=exec_id(600))
    child = an_image("/bin/cp", pid=700, parent_exec_id=exec_id(600))
    body = a_body(
        (an_image(), an_event(time_ns=T0)),
        (person, an_event(time_ns=T0 + clock.NS)),
        (child, an_event(time_ns=T0 + 2 * clock.NS, file_change=changes(b"/etc/passwd"))),
    )
    await backend.deliver(a_chain([body], host_id=host_id), host_id, to=(STORE,))
    return host_id


async def test_all_pages_are_followed_as_json_lines(ask, host):
    said = await ask("events", "--host", host, "--limit", "1", "--all", "-o", "json")
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["pid"] for row in rows] == [700, 600, 500]
    said = await ask("events", "--host", host, "--user", "alice", "--oldest", "-o", "csv")
    assert "adduser z\\x1b" in said
    assert len(said.splitlines()) == 2


async def test_the_timeline_is_told_in_sentences(ask, host):
    said = await ask("timeline", "--host", host, "--since", clock.rfc3339(T0 + 1))
    assert "ran cp, which changed /etc/passwd" in said
    assert "\x1b" not in said


async def test_the_tree_shows_children_below_their_parents(ask, host):
    lines = (await ask("tree", host, exec_id(600))).splitlines()
    assert lines[0].startswith("* 600 adduser")
    assert lines[1].startswith("    700 /bin/cp")
    assert lines[2].strip() == "-> /etc/passwd"
    assert json.loads(await ask("tree", host, exec_id(600), "-o", "json"))["complete"]


async def test_a_table_of_events_names_what_the_tree_is_asked_for(ask, host):
    for command in ("events", "timeline"):
        lines = (await ask(command, "--host", host, "--exec-id", exec_id(600))).splitlines()
        assert lines[0].split()[-1] == "EXECID"
        found = lines[1].split()[-1]
        assert found == exec_id(600)
    assert (await ask("tree", host, found)).startswith("* 600 adduser")


async def test_a_hash_finds_the_hosts(ask, backend):
    host_id, digest = secrets.token_hex(16), secrets.token_bytes(32)
    told = events.FileHash(path=b"/tmp/evil", sha256=digest)
    body = a_body((an_image("/tmp/evil"), an_event(file_hash=told)))
    await backend.deliver(a_chain([body], host_id=host_id), host_id, to=(STORE,))
    said = await ask("events", "--sha256", digest.hex(), "-o", "json")
    assert [json.loads(line)["hostID"] for line in said.splitlines()] == [host_id]
    assert "/tmp/evil" in await ask("events", "--sha256", digest.hex())


async def test_gaps_are_listed(ask, backend, host):
    gap = events.Gap(
        cause=events.Gap.CAUSE_AGENT_STALLED,
        start_time=clock.to_timestamp(T0),
        end_time=clock.to_timestamp(T0 + clock.NS),
        detail="it stood still",
    )
    body = events.EventBatch(events=[an_event(None, gap=gap)])
    other = secrets.token_hex(16)
    await backend.deliver(a_chain([body], host_id=other), other, to=(STORE,))
    head, line = (await ask("gaps", "--host", other)).splitlines()
    assert head.split()[:5] == ["FROM", "TO", "HOSTNAME", "CAUSE", "LOST"]
    assert line.startswith(clock.rfc3339(T0))
    assert line.endswith("it stood still")
    for nothing in (("--host", host), ("--host", other, "--until", clock.rfc3339(T0 - 1))):
        assert await ask("gaps", *nothing) == "nothing found\n"


async def test_what_cannot_be_asked_fails_with_the_reason(ask, host):
    await ask("events", "--kind", "nonsense", status=4)
    await ask("tree", host, "nobody", status=4)
    assert "nobody is neither a known host nor a file" in await ask("verify", "nobody", status=2)
    assert "intact" in await ask("verify", host)
