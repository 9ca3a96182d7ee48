"""Hosts, gaps, custody and events of real batches in the real store."""

import json
import secrets

import pytest

from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.builders import (
    T0,
    a_body,
    a_chain,
    a_person,
    an_ancestor,
    an_event,
    an_image,
    batch_hash,
    below,
    changes,
)
from tests.gateway.conftest import ADMIN
from tests.services_client import STORE

SECOND = 1_000_000_000


def facts(name):
    return events.HostFacts(
        hostname=name, fqdn=f"{name}.example", os_id="debian", os_version="12", os_name="Debian 12"
    )


def status():
    return events.AgentStatus(
        state=events.AgentStatus.STATE_RUNNING,
        level=events.LEVEL_POLL,
        not_seen=["short-lived processes: polling sees them by luck"],
        agent_version="0.1.0",
        lost=3,
        rss_bytes=50 << 20,
        peak_rss_bytes=60 << 20,
        cpu_ms=1234,
        collected=7,
        unwritten_batches=2,
        processes=99,
        receivers=[
            events.AgentStatus.Receiver(name="store", behind=1, connected=True),
            events.AgentStatus.Receiver(name="modeler", behind=40),
        ],
    )


def gap():
    return events.Gap(
        cause=events.Gap.CAUSE_AGENT_STALLED,
        start_time=clock.to_timestamp(T0),
        end_time=clock.to_timestamp(T0 + SECOND),
        precision=events.Gap.PRECISION_UNKNOWN,
        source="agent",
    )


@pytest.fixture(scope="module")
async def host(backend):
    """A host with one chain of three batches; returns (id, name, chain)."""
    host_id, name = secrets.token_hex(16), f"web-{secrets.token_hex(3)}"
    above = [an_ancestor(b"/bin/b\xff", 40, command=b"sh -c x"), an_ancestor("/sbin/init", 1)]
    body = a_body(
        (below(a_person("/usr/sbin/useradd", ["useradd", b"zo\xff"]), *above), an_event()),
        (a_person("/usr/sbin/useradd"), an_event(file_change=changes(b"/etc/passwd"))),
    )
    about = events.EventBatch(
        events=[
            an_event(None, host_facts=facts(name)),
            an_event(None, agent_status=status()),
            an_event(None, gap=gap()),
        ]
    )
    chain = a_chain([about, body, a_body()], host_id=host_id)
    await backend.deliver(chain, host_id, to=(STORE,))
    return host_id, name, chain


async def test_a_host_says_how_well_it_is_seen_and_what_is_missing(api, host):
    host_id, name, _chain = host
    for query in ({"hostname": name}, {"host": host_id}, {"search": name[1:].upper()}):
        (row,) = await api.rows("/nightherd/hosts", **query)
        assert row["hostID"] == host_id
    assert row["level"] == "poll"
    assert row["notSeen"] == ["short-lived processes: polling sees them by luck"]
    assert (row["batches"], row["events"], row["gaps"], row["lost"]) == (3, 6, 1, 3)
    assert (row["agentRssBytes"], row["agentPeakRssBytes"]) == (50 << 20, 60 << 20)
    assert (row["agentCpuMs"], row["agentProcesses"]) == (1234, 99)
    assert (row["eventsCollected"], row["batchesUnwritten"]) == (7, 2)
    assert [row[f"behind{name}"] for name in ("Store", "Detector", "Modeler")] == [1, 0, 40]
    assert row["fqdn"] == f"{name}.example"
    assert row["firstSeen"] <= row["lastSeen"]
    assert row["clockSkewMs"] != 0
    (one,) = row["chains"]
    assert (one["first"], one["last"], one["settledThrough"]) == (1, 3, 3)
    assert "unsigned" in one["flags"] or one["flags"] == []


async def test_gaps_are_told_with_cause_and_how_sure_the_count_is(api, host):
    host_id, name, _ = host
    (row,) = await api.rows("/nightherd/gaps", hostname=name)
    expected = {"hostID": host_id, "hostname": name, "cause": "agentStalled", "lost": 0}
    expected |= {"from": clock.rfc3339(T0), "to": clock.rfc3339(T0 + SECOND)}
    assert expected.items() <= row.items()
    assert row["precision"] == "unknown"
    later = clock.rfc3339(T0 + 2 * SECOND)
    assert await api.rows("/nightherd/gaps", host=host_id, **{"from": later}) == []


async def test_custody_names_the_head_by_which_an_export_can_be_checked(api, host):
    host_id, name, chain = host
    for named in (host_id, name):
        report = await api.rows(f"/nightherd/custody/{named}")
        assert report["intact"], report
        assert report["hostID"] == host_id
        (one,) = report["chains"]
        assert (one["batches"], one["events"]) == (3, 6)
        assert one["headHash"] == batch_hash(chain[-1]).hex()


async def test_custody_of_nobody_and_of_an_ambiguous_name_are_refused_clearly(api, backend):
    unknown = await api.get("/nightherd/custody/nobody")
    assert (unknown.status_code, unknown.json()["reason"]) == (404, "HOST_UNKNOWN")
    assert (await api.get("/nightherd/batches", host="nobody")).status_code == 404
    assert (await api.get("/nightherd/batches")).status_code == 400
    name = f"twin-{secrets.token_hex(3)}"
    ids = [secrets.token_hex(16) for _ in range(2)]
    for host_id in ids:
        body = events.EventBatch(events=[an_event(None, host_facts=facts(name))])
        await backend.deliver(a_chain([body], host_id=host_id), host_id, to=(STORE,))
    answer = await api.get(f"/nightherd/custody/{name}")
    assert answer.status_code == 409
    assert all(host_id in answer.json()["detail"] for host_id in ids)
    assert (await api.get(f"/nightherd/custody/{ids[0]}")).status_code == 200


async def test_a_host_that_takes_anothers_id_as_its_name_does_not_take_its_place(
    api, backend, host
):
    real, _, _ = host
    impostor = secrets.token_hex(16)
    body = events.EventBatch(events=[an_event(None, host_facts=facts(real))])
    await backend.deliver(a_chain([body], host_id=impostor), impostor, to=(STORE,))
    assert (await api.rows(f"/nightherd/custody/{real}"))["hostID"] == real


async def test_events_come_as_json_lines_with_what_the_header_says(api, host):
    host_id, _, chain = host
    async with api.client.stream(
        "GET", "/nightherd/batches", params={"host": host_id}, auth=ADMIN
    ) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        lines = [json.loads(line) async for line in answer.aiter_lines()]
    assert [line["batch"] for line in lines] == [1, 2, 3]
    assert [line["hash"] for line in lines] == [batch_hash(batch).hex() for batch in chain]
    assert [line["previousHash"] for line in lines[1:]] == [line["hash"] for line in lines[:-1]]
    assert lines[0]["origin"] == "live"
    started, changed = lines[1]["events"]
    actor = lines[1]["images"][started["actor"]]
    assert actor["arguments"] == ["useradd", "zo\\xff"]
    assert actor["loginUser"] == "alice"
    assert [(one["executable"], one["pid"]) for one in actor["ancestors"]] == [
        ("/bin/b\\xff", 40),
        ("/sbin/init", 1),
    ]
    assert "ancestor" not in actor
    assert "above" not in actor["ancestors"][0]
    assert changed["fileChange"]["changes"][0]["path"] == "/etc/passwd"
    assert lines[0]["events"][2]["gap"]["cause"] == "CAUSE_AGENT_STALLED"


async def test_the_health_of_every_peer_can_be_asked_for(api):
    assert await api.rows("/nightherd/health") == {
        "store": "serving",
        "modeler": "serving",
        "detector": "unreachable",
    }


async def test_hostile_names_of_hosts_arrive_as_readable_text(api, backend):
    host_id = secrets.token_hex(16)
    body = events.EventBatch(
        events=[an_event(None, host_facts=facts("a\u202eb\x1b\n"))], images=[an_image()]
    )
    await backend.deliver(a_chain([body], host_id=host_id), host_id, to=(STORE,))
    (row,) = await api.rows("/nightherd/hosts", host=host_id)
    assert row["hostname"] == "a\\u{202e}b\\x1b\\x0a"
