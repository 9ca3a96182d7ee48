"""Alerts that belong together are one incident, whatever order, repetition or crash brings them."""

import asyncio
import random
import secrets

import grpc
import pytest
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis import clock, mongo
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from services.store.repository.findings import Findings
from services.store.repository.incidents import Incidents
from tests.builders import HOST, T0, exec_id

OTHER = "1" * 32
HOUR = 3600
PERSON = {
    "exec_id": exec_id(500),
    "user": "alice",
    "session_id": 7,
    "provenance": events.PROVENANCE_INTERACTIVE,
}
# Times lie so that most of these are quiet now, whenever the tests run.
PAST = T0 - 400 * 86_400 * clock.NS


def an_alert(second=0, host=HOST, name="", severity=findings.SEVERITY_HIGH, past=PAST, **actor):
    name = name or f"{second}-{host[:2]}-{sorted(actor.items())}"
    return findings.Finding(
        occurrence_id=f"alert-{name}",
        host_id=host,
        herd="default",
        event_time=clock.to_timestamp(past + second * clock.NS),
        actor=findings.Actor(**(actor or PERSON)),
        alert=findings.Alert(
            alert_key=f"key-{name}", attack_type="capabilityViolation", severity=severity
        ),
    )


async def record(detector, *alerts):
    return await detector.RecordFindings(api.RecordFindingsRequest(findings=alerts))


async def incidents(store, **asked):
    request = api.ListIncidentsRequest(filter=api.IncidentFilter(**asked))
    answer = await store.stub.ListIncidents(request)
    assert answer.total_count == len(answer.incidents)
    return list(answer.incidents)


def second_of(time):
    return (clock.from_timestamp(time) - PAST) // clock.NS


async def test_alerts_of_one_session_are_one_incident_and_services_have_their_own(store, detector):
    service = {"service": "web", "user": "root"}
    job = {**service, "session_id": 9, "provenance": events.PROVENANCE_SCHEDULED}
    await record(
        detector,
        an_alert(0),
        an_alert(60, severity=findings.SEVERITY_LOW),
        an_alert(61, **service),
        an_alert(62, **job),
        an_alert(63, host=OTHER, **service),
        an_alert(64, **{**PERSON, "session_id": 8}),
        an_alert(65, **{**PERSON, "exec_id": "another-boot:500:1000:5"}),
    )
    found = await incidents(store)
    assert [(i.host_id, i.session_id, i.service, i.alert_count) for i in found] == [
        (HOST, 7, "", 1),
        (HOST, 8, "", 1),
        (OTHER, 0, "web", 1),
        (HOST, 0, "web", 2),  # each run of a job has a session of its own
        (HOST, 7, "", 2),
    ]
    person = found[-1]
    assert (second_of(person.first_time), second_of(person.last_time)) == (0, 60)
    assert (person.low_count, person.medium_count, person.high_count) == (1, 0, 1)
    assert (list(person.users), person.herd) == (["alice"], "default")
    assert len(person.alert_ids) == 2
    assert list(person.attack_types) == ["capabilityViolation"]
    assert person.state == api.INCIDENT_STATE_QUIET


async def test_a_day_of_quiet_ends_an_incident(store, detector):
    for hour in (0, 24, 49, 60):  # not more than a day apart but once
        await record(detector, an_alert(hour * HOUR))
    spans = [(second_of(i.first_time), second_of(i.last_time)) for i in await incidents(store)]
    assert spans == [(49 * HOUR, 60 * HOUR), (0, 24 * HOUR)]


async def test_an_incident_is_open_until_a_day_after_its_last_alert(store, detector):
    now = clock.wall_ns()
    await record(detector, an_alert(past=now - 3600 * clock.NS))
    await record(detector, an_alert(service="web", past=now - 90_000 * clock.NS))
    # A clock that is ahead keeps none open for longer.
    await record(detector, an_alert(service="ahead", past=now + 9 * 86_400 * clock.NS))
    ahead, mine, web = await incidents(store)
    assert clock.from_timestamp(ahead.last_time) <= clock.wall_ns()
    assert (mine.state, web.state) == (api.INCIDENT_STATE_OPEN, api.INCIDENT_STATE_QUIET)
    for state, right in (
        (api.INCIDENT_STATE_OPEN, [ahead, mine]),
        (api.INCIDENT_STATE_QUIET, [web]),
        (api.INCIDENT_STATE_ACKNOWLEDGED, []),
    ):
        assert await incidents(store, states=[state]) == right


MANY = [
    an_alert(hour * HOUR, host, severity=1 + hour % 3, **actor)
    for hour in (0, 1, 20, 30, 70, 71, 140)
    for host, actor in ((HOST, PERSON), (HOST, {"service": "web"}), (OTHER, PERSON))
]


async def stories(database):
    rows = await database["incidents"].find({"count": {"$gt": 0}}).to_list(None)
    return sorted(
        (row["key"], row["t0"], row["t1"], row["count"], sorted(row["severities"].items()))
        for row in rows
    )


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(range(len(MANY))), max_size=12), st.randoms())
def test_any_repetition_in_any_parts_by_two_replicas_gives_the_same(
    mongo_url, again, chance: random.Random
):
    async def run():
        client = mongo.connect(mongo_url)
        name = f"incidents_{secrets.token_hex(4)}"
        database = client[name]
        await Incidents(database).prepare()
        # In order of time within a replica: which alerts lie near is known only when they came.
        parts = [[], []]
        for number in sorted([*range(len(MANY)), *again]):
            for part in parts:
                if chance.random() < 0.7 or part is parts[number % 2]:
                    part.append(MANY[number])

        async def one(alerts):
            replica = Findings(database, Incidents(database))
            while alerts:
                size = chance.randint(1, 9)
                await replica.record(alerts[:size])
                alerts = alerts[size:]

        try:
            await asyncio.gather(*map(one, parts))
            counts = [count for _, _, _, count, _ in await stories(database)]
            assert sum(counts) == len(MANY)
            open_keys = await database["incidents"].distinct("key", {"open": True})
            assert len(open_keys) == await database["incidents"].count_documents({"open": True})
            before = await stories(database)
            await one(chance.sample(MANY, len(MANY)))
            assert await stories(database) == before
        finally:
            await client.drop_database(name)
            client.close()

    asyncio.run(run())


async def test_many_that_record_at_once_make_one_incident(store, detector):
    alerts = [an_alert(n) for n in range(60)]

    async def one(seed):
        mine = random.Random(seed).sample(alerts, len(alerts))
        for start in range(0, len(mine), 7):
            await record(detector, *mine[start : start + 7])

    await asyncio.gather(*map(one, range(5)))
    (found,) = await incidents(store)
    assert (found.alert_count, found.high_count) == (60, 60)
    assert (second_of(found.first_time), second_of(found.last_time)) == (0, 59)


async def test_what_comes_late_finds_the_story_it_belongs_to(store, detector):
    await record(detector, an_alert(100 * HOUR))
    await record(detector, an_alert(0))  # long before: a story that was over by then
    await record(detector, an_alert(-HOUR), an_alert(HOUR), an_alert(99 * HOUR))
    found = [(second_of(i.first_time) // HOUR, i.alert_count) for i in await incidents(store)]
    assert found == [(99, 2), (-1, 3)]
    assert await store.database["incidents"].count_documents({"open": True}) == 1


@pytest.mark.parametrize("lost", ["i", "incident", "count"])
async def test_what_a_crash_left_undone_is_done_when_it_is_recorded_again(store, detector, lost):
    alerts = [an_alert(n) for n in range(3)]
    await record(detector, *alerts)
    before = await stories(store.database)
    (only,) = await incidents(store)
    if lost in ("i", "incident"):
        await store.database["occurrences"].update_many({}, {"$unset": {"i": True}})
    if lost == "incident":
        await store.database["incidents"].delete_many({})
    gone = {"count": True, "severities": True}
    await store.database["incidents"].update_many({}, {"$unset": gone})
    assert await incidents(store) == []
    assert (await record(detector, *alerts)).new_count == 0
    assert await stories(store.database) == before
    assert (await incidents(store))[0].incident_id == only.incident_id


def seen(incident_id, by="bob", note="his job"):
    return api.AcknowledgeIncidentRequest(incident_id=incident_id, acknowledged_by=by, note=note)


async def test_an_incident_that_was_seen_is_closed_and_what_comes_then_is_another(store, detector):
    await record(detector, an_alert(0), an_alert(1))
    (first,) = await incidents(store)
    for by in ("bob", "carol"):  # the first stands
        answer = (await store.stub.AcknowledgeIncident(seen(first.incident_id, by))).incident
        assert (answer.acknowledged_by, answer.note) == ("bob", "his job")
        assert answer.state == api.INCIDENT_STATE_ACKNOWLEDGED
    await record(detector, an_alert(0), an_alert(1))  # the same again changes nothing
    assert len(await incidents(store)) == 1
    await record(detector, an_alert(2))
    both = await incidents(store)
    assert [(i.alert_count, i.acknowledged_by) for i in both] == [(1, ""), (2, "bob")]
    asked = api.GetIncidentRequest(incident_id=both[1].incident_id)
    assert (await store.stub.GetIncident(asked)).incident == both[1]
    answer = await store.stub.GetTimeline(api.GetTimelineRequest(entries=["incident"], limit=50))
    told = [(e.incident.moment, e.incident.incident.incident_id) for e in answer.entries]
    second, first_id = both[0].incident_id, first.incident_id
    assert told == [
        ("acknowledged", first_id),
        ("ended", second),
        ("began", second),
        ("began", first_id),
    ]


async def test_what_came_late_keeps_an_incident_and_what_goes_gets_no_more_alerts(store, detector):
    await record(detector, an_alert(0))
    repository = Incidents(store.database)
    before_ns = PAST + 30 * 86_400 * clock.NS
    assert await repository.end(before_ns, 9) == []  # it has only just been received
    await store.database["incidents"].update_many({}, {"$set": {"r": PAST}})
    (going,) = await repository.end(before_ns, 9)
    await record(detector, an_alert(HOUR))
    assert await repository.end(before_ns, 9) == [going]
    await repository.remove([going])
    (left,) = await incidents(store)
    assert (second_of(left.first_time), left.alert_count) == (HOUR, 1)
    assert left.incident_id != going


async def test_incidents_are_chosen_by_host_herd_user_service_and_time(store, detector, tls):
    from tests.builders import a_chain
    from tests.services_client import deliver

    await deliver(store.address, tls.host(), a_chain([None]), HOST)  # makes the host known
    await record(detector, an_alert(0), an_alert(HOUR), an_alert(2 * HOUR, OTHER, service="web"))

    def at(hour):
        return clock.to_timestamp(PAST + hour * HOUR * clock.NS)

    for asked, right in (
        ({"hosts": [HOST]}, ["alice"]),
        ({"herds": ["default"]}, ["", "alice"]),
        ({"herds": ["other"]}, []),
        ({"users": ["alice", "nobody"]}, ["alice"]),
        ({"services": ["web"]}, [""]),
        ({"from_time": at(2)}, [""]),
        ({"from_time": at(1), "to_time": at(1)}, ["alice"]),
        ({"to_time": at(-1)}, []),
    ):
        found = await incidents(store, **asked)
        assert (asked, [",".join(i.users) for i in found]) == (asked, right)
    pages = [
        (await store.stub.ListIncidents(api.ListIncidentsRequest(offset=n, limit=1))).incidents[0]
        for n in range(2)
    ]
    assert pages == await incidents(store)
    parts = store.stub.StreamIncidents(api.StreamIncidentsRequest())
    assert [one async for part in parts for one in part.incidents] == pages


async def test_hostile_text_stays_text_and_is_bounded(store, detector):
    evil = "$name\0{$gt: 1}\x1b" * 100
    actor = {**PERSON, "user": evil, "exec_id": "$x" * 1000}
    many = [an_alert(0, "$$ROOT", f"{n}", **{**actor, "user": f"{evil}{n}"}) for n in range(150)]
    await record(detector, *many, an_alert(0, "$$ROOT", service="$service"))
    service, person = sorted(await incidents(store), key=lambda i: i.alert_count)
    assert (service.service, person.host_id, person.alert_count) == ("$service", "$$ROOT", 150)
    assert (len(person.users), len(person.alert_ids), len(person.boot_id)) == (20, 100, 256)
    zero = findings.Finding(
        occurrence_id="zero", host_id=HOST, alert=findings.Alert(alert_key="zero", severity=99)
    )
    zero.event_time.seconds = -(1 << 62)
    await record(detector, zero)
    assert (await incidents(store))[-1].alert_count == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (api.GetIncidentRequest(incident_id="$ne"), grpc.StatusCode.NOT_FOUND),
        (seen("nothing"), grpc.StatusCode.NOT_FOUND),
        (seen("nothing", by=" "), grpc.StatusCode.INVALID_ARGUMENT),
        (seen("nothing", by="x" * 257), grpc.StatusCode.INVALID_ARGUMENT),
        (seen("nothing", note="x" * 1001), grpc.StatusCode.INVALID_ARGUMENT),
        (api.ListIncidentsRequest(limit=1001), grpc.StatusCode.INVALID_ARGUMENT),
        (api.ListIncidentsRequest(offset=-1), grpc.StatusCode.INVALID_ARGUMENT),
        (
            api.ListIncidentsRequest(filter=api.IncidentFilter(hosts=["nobody"])),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            api.ListIncidentsRequest(filter=api.IncidentFilter(users=["x"] * 501)),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            api.ListIncidentsRequest(filter=api.IncidentFilter(states=[0])),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_what_cannot_be_is_refused(store, request_, code):
    name = type(request_).__name__.removesuffix("Request")
    with pytest.raises(aio.AioRpcError) as refused:
        await getattr(store.stub, name)(request_)
    assert refused.value.code() is code
    assert refused.value.details()
