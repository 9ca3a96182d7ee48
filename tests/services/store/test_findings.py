"""Views of findings: the same whatever order, repetition or crash brought the occurrences."""

import asyncio
import random
import secrets

import grpc
import pytest
from grpc import aio
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis import clock, mongo
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.store.v1 import store_service_pb2 as api
from services.store.repository.findings import Findings
from services.store.repository.incidents import Incidents
from tests.builders import CHAIN, HOST, T0

OTHER_HOST = "1" * 32


def an_occurrence(kind="alert", view="a" * 8, name="1", host=HOST, second=0, **fields):
    """An occurrence of a view; its content follows from its name."""
    actor = {"user": "alice", "service": "web", "executable": b"/usr/sbin/useradd"}
    finding = pb.Finding(
        occurrence_id=f"{kind}-{view}-{name}",
        host_id=host,
        herd="default",
        chain_id=CHAIN,
        batch_number=1,
        event_time=clock.to_timestamp(T0 + second * clock.NS),
        actor=pb.Actor(**(actor | fields.pop("actor", {}))),
    )
    files = fields.pop("files", [f"/etc/{name}".encode()])
    if kind == "alert":
        values = {
            "alert_key": view,
            "type": "processes",
            "attack_type": "capabilityViolation",
            "severity": pb.SEVERITY_HIGH,
            "effect": "alert",
            "rule_name": "model",
            "message": f"message {name}",
        }
        finding.alert.CopyFrom(pb.Alert(modified_files=files, **(values | fields)))
    else:
        values = {"activity_id": view, "type": pb.ACTIVITY_TYPE_ACCOUNTS_MODIFIED}
        finding.activity.CopyFrom(pb.Activity(modified_files=files, **(values | fields)))
    return finding


OCCURRENCES = [
    an_occurrence(kind, view, str(name), host, second)
    for kind in ("alert", "activity")
    for view in ("x", "y")
    for name, host, second in ((1, HOST, 5), (2, OTHER_HOST, 3), (3, HOST, 5), (4, HOST, 9))
]


async def views(database):
    return {
        name: [row async for row in database[name].find().sort("_id", 1)]
        for name in ("activities", "alerts")
    }


async def recorded(client, parts):
    name = f"views_{secrets.token_hex(4)}"
    findings = Findings(client[name], Incidents(client[name]))
    for part in parts:
        await findings.record(part)
    result = await views(client[name])
    await client.drop_database(name)
    return result


@pytest.fixture(scope="session")
def plain_views(mongo_url):
    async def once():
        client = mongo.connect(mongo_url)
        result = await recorded(client, [OCCURRENCES])
        client.close()
        return result

    return asyncio.run(once())


@settings(max_examples=10)
@given(st.lists(st.sampled_from(range(len(OCCURRENCES))), max_size=12), st.randoms())
def test_any_order_any_repetition_any_cut_gives_the_same_views(
    mongo_url, plain_views, again, chance: random.Random
):
    order = [*range(len(OCCURRENCES)), *again]
    chance.shuffle(order)
    parts, part = [], []
    for number in order:
        part.append(OCCURRENCES[number])
        if chance.random() < 0.3:
            parts.append(part)
            part = []
    parts.append(part)

    async def run():
        client = mongo.connect(mongo_url)
        try:
            return await recorded(client, parts)
        finally:
            client.close()

    assert asyncio.run(run()) == plain_views


async def test_an_activity_shows_its_earliest_an_alert_its_latest_with_all_files(store, detector):
    answer = await detector.RecordFindings(api.RecordFindingsRequest(findings=OCCURRENCES))
    assert answer.new_count == len(OCCURRENCES)
    answer = await detector.RecordFindings(api.RecordFindingsRequest(findings=OCCURRENCES))
    assert answer.new_count == 0
    alert = (await store.stub.ListAlerts(api.ListAlertsRequest())).alerts[0]
    assert (alert.count, alert.finding.alert.message) == (4, "message 4")
    assert sorted(alert.finding.alert.modified_files) == [
        b"/etc/1",
        b"/etc/2",
        b"/etc/3",
        b"/etc/4",
    ]
    assert clock.from_timestamp(alert.first_time) == T0 + 3 * clock.NS
    assert clock.from_timestamp(alert.last_time) == T0 + 9 * clock.NS
    assert list(alert.host_ids) == [HOST, OTHER_HOST]
    activity = (await store.stub.ListActivities(api.ListActivitiesRequest())).activities[0]
    assert (activity.count, activity.finding.host_id) == (4, OTHER_HOST)
    assert len(activity.finding.activity.modified_files) == 4


async def test_an_alert_names_the_accounts_of_all_its_occurrences_and_is_found_by_each(
    store, detector
):
    people = [
        an_occurrence(view="p", name=name, second=second, accounts=[name])
        for second, name in enumerate(("Bob", "carol"))
    ]
    await detector.RecordFindings(api.RecordFindingsRequest(findings=people))
    for search in ("", "bob", "carol"):
        asked = api.ListAlertsRequest(filter=api.FindingFilter(search=search))
        alerts = (await store.stub.ListAlerts(asked)).alerts
        assert [list(a.finding.alert.accounts) for a in alerts] == [["Bob", "carol"]], search


async def test_two_detectors_that_record_at_once_count_every_occurrence_once(store, detector):
    many = [an_occurrence("alert", "k", str(n), second=n) for n in range(120)]

    async def one(seed):
        mine = many[:]
        random.Random(seed).shuffle(mine)
        for start in range(0, len(mine), 17):
            request = api.RecordFindingsRequest(findings=mine[start : start + 17])
            await detector.RecordFindings(request)

    await asyncio.gather(*map(one, range(4)))
    (alert,) = (await store.stub.ListAlerts(api.ListAlertsRequest())).alerts
    assert (alert.count, alert.finding.alert.message) == (120, "message 119")


async def test_occurrences_without_their_view_get_it_when_they_are_recorded_again(store, detector):
    request = api.RecordFindingsRequest(findings=OCCURRENCES[:3])
    await detector.RecordFindings(request)
    before = await views(store.database)
    # A kill between the two writes leaves exactly this.
    await store.database["alerts"].delete_many({})
    assert (await detector.RecordFindings(request)).new_count == 0
    assert await views(store.database) == before


@pytest.mark.parametrize(
    "finding", [pb.Finding(occurrence_id="x"), an_occurrence(view=""), an_occurrence(host="")]
)
async def test_what_is_no_finding_is_refused_whole(store, detector, finding):
    request = api.RecordFindingsRequest(findings=[OCCURRENCES[0], finding])
    with pytest.raises(aio.AioRpcError) as refused:
        await detector.RecordFindings(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await store.database["occurrences"].count_documents({}) == 0


async def test_text_that_looks_like_a_query_stays_text(store, detector):
    hostile = an_occurrence(
        "alert", "h", host="$$ROOT", files=[b"$x\xff"], message="$name {$gt: 1} .*",
        actor={"user": "$user", "command": b"\x1b[31m\xff.*"},
    )  # fmt: skip
    await detector.RecordFindings(api.RecordFindingsRequest(findings=[hostile]))
    (alert,) = (await store.stub.ListAlerts(api.ListAlertsRequest())).alerts
    assert alert.finding.alert == hostile.alert
    assert alert.finding.actor == hostile.actor
    assert list(alert.host_ids) == ["$$ROOT"]


FLEET = [
    an_occurrence("alert", "a1", host="1" * 32, second=1, type="network", actor={"user": "root"}),
    an_occurrence("alert", "a2", host="2" * 32, second=2, attack_techniques=["T1136.001"]),
    an_occurrence("alert", "a3", host="3" * 32, second=3, severity=pb.SEVERITY_LOW,
                  actor={"interactive": True, "service": "cron.service"}),
    an_occurrence("alert", "a4", host="1" * 32, second=4, rule_name="other", effect="disable",
                  message="Exact (message)", attack_type="reverseShell"),
]  # fmt: skip


@pytest.fixture
async def fleet(store, detector):
    await detector.RecordFindings(api.RecordFindingsRequest(findings=FLEET))
    return store


def at(second):
    return clock.to_timestamp(T0 + second * clock.NS)


FILTERS = [
    ({}, "a4 a3 a2 a1"),
    ({"hosts": ["1" * 32]}, "a4 a1"),
    ({"hosts": ["nowhere"]}, ""),
    ({"herds": ["default"]}, "a4 a3 a2 a1"),
    ({"herds": ["other"]}, ""),
    ({"users": ["root", "nobody"]}, "a1"),
    ({"services": ["cron.service"]}, "a3"),
    ({"from_time": at(2), "to_time": at(3)}, "a3 a2"),
    ({"interactive": True}, "a3"),
    ({"interactive": False}, "a4 a2 a1"),
    ({"alert_types": ["network"]}, "a1"),
    ({"attack_types": ["reverseShell"]}, "a4"),
    ({"rule_names": ["other"]}, "a4"),
    ({"effects": ["disable"]}, "a4"),
    ({"attack_techniques": ["T1136.001"]}, "a2"),
    ({"process_paths": ["/usr/sbin/useradd"]}, "a4 a3 a2 a1"),
    ({"messages": ["Exact (message)"]}, "a4"),
    ({"ids": ["a2", "a3"]}, "a3 a2"),
    ({"search": "exact (MESS"}, "a4"),
    ({"search": ".*"}, ""),
    ({"search": "\0"}, ""),
    ({"search": "/ETC/1"}, "a4 a3 a2 a1"),
    ({"clusters": ["none"]}, ""),
    ({"users": ["root"], "alert_types": ["processes"]}, ""),
]


async def test_each_filter_finds_what_it_should(fleet):
    for asked, expected in FILTERS:
        request = api.ListAlertsRequest(filter=api.FindingFilter(**asked))
        answer = await fleet.stub.ListAlerts(request)
        found = " ".join(a.finding.alert.alert_key for a in answer.alerts)
        assert (asked, found) == (asked, expected)
        assert answer.total_count == len(expected.split())


async def test_pages_join_to_the_whole_and_every_order_is_total(fleet):
    for sort in ("", "time", "hostname", "user", "type", "service", "count", "severity"):
        for reverse in (False, True):
            keys = []
            for offset in range(0, 4, 2):
                paging = api.Paging(offset=offset, limit=2, sort=sort, reverse=reverse)
                answer = await fleet.stub.ListAlerts(api.ListAlertsRequest(paging=paging))
                assert answer.total_count == 4
                keys += [a.finding.alert.alert_key for a in answer.alerts]
            assert sorted(keys) == ["a1", "a2", "a3", "a4"]
    oldest = api.ListAlertsRequest(paging=api.Paging(ascending=True, limit=1))
    assert (await fleet.stub.ListAlerts(oldest)).alerts[0].finding.alert.alert_key == "a1"


async def test_a_question_that_cannot_be_asked_is_refused(fleet):
    for request in (
        api.ListAlertsRequest(paging=api.Paging(sort="colour")),
        api.ListAlertsRequest(paging=api.Paging(limit=5000)),
        api.ListAlertsRequest(paging=api.Paging(offset=-1)),
        api.ListAlertsRequest(filter=api.FindingFilter(search="x" * 300)),
        api.ListAlertsRequest(filter=api.FindingFilter(users=["x"] * 501)),
    ):
        with pytest.raises(aio.AioRpcError) as refused:
            await fleet.stub.ListAlerts(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details()


async def test_streams_have_no_cap(store, detector):
    many = [an_occurrence("activity", f"v{n:04}", second=n) for n in range(1234)]
    for start in (0, 1000):
        request = api.RecordFindingsRequest(findings=many[start : start + 1000])
        await detector.RecordFindings(request)
    call = store.stub.StreamActivities(api.StreamActivitiesRequest())
    parts = [part async for part in call]
    ids = [r.finding.activity.activity_id for part in parts for r in part.activities]
    assert ids == [f"v{n:04}" for n in reversed(range(1234))]
    limited = api.StreamActivitiesRequest(paging=api.Paging(limit=7, offset=3, ascending=True))
    got = [r async for part in store.stub.StreamActivities(limited) for r in part.activities]
    assert [r.finding.activity.activity_id for r in got] == [f"v{n:04}" for n in range(3, 10)]


async def test_the_hosts_facts_stand_beside_what_was_found(store, detector, tls):
    from nightherd.event.v1 import event_pb2 as events
    from tests.builders import a_body, an_event, an_image, sealed_batch
    from tests.services_client import deliver

    facts = events.HostFacts(
        hostname="web-1", cluster="c1", cloud_account="acc", cloud_region="r", os_name="Debian 12"
    )
    body = a_body((an_image(), an_event(host_facts=facts)))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    both = [an_occurrence("alert", "a"), an_occurrence("activity", "b")]
    await detector.RecordFindings(api.RecordFindingsRequest(findings=both))
    for fields in ({"hosts": ["web-1"]}, {"clusters": ["c1"]}, {"accounts": ["acc"]}):
        asked = api.FindingFilter(**fields)
        (alert,) = (await store.stub.ListAlerts(api.ListAlertsRequest(filter=asked))).alerts
        assert (alert.cluster, alert.account, alert.os, alert.region) == (
            "c1", "acc", "Debian 12", "r",
        )  # fmt: skip
        assert list(alert.hostnames) == [alert.finding.hostname] == ["web-1"]
        request = api.ListActivitiesRequest(filter=asked)
        (activity,) = (await store.stub.ListActivities(request)).activities
        assert (activity.cluster, activity.account, activity.finding.hostname) == (
            "c1", "acc", "web-1",
        )  # fmt: skip
    hosts = (await store.stub.ListHosts(api.ListHostsRequest(search="WEB"))).hosts
    assert [h.facts for h in hosts] == [facts]
