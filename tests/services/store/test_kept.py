"""What lies around incidents stays when its day goes, as long as the incident."""

import asyncio
import os
import signal
import sys

import pytest

from chassis import clock
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.event.v1.delivery_pb2 import BatchHeader
from nightherd.store.v1 import store_service_pb2 as api
from services.store.domain.removals import of_authority
from services.store.repository.bodies import size_of
from services.store.repository.removals import Removals
from services.store.settings import Settings
from tests.builders import HOST, T0, a_body, an_event, an_image, sealed_batch
from tests.conftest import ROOT
from tests.services.store.test_retention import (
    DAY_NS,
    OTHER,
    bodies_of,
    custody,
    erasure,
    gaps_of,
    received,
    retention,
)
from tests.services_client import deliver

START = T0 - 400 * DAY_NS
"""Alerts of days to come would count as of now."""
MINUTE = 60 * clock.NS
PER_DAY, PAUSE = 8, 5 * MINUTE


def times(days=3):
    """When the batches of `days` days were sealed, eight a day, five minutes apart."""
    return [START + day * DAY_NS + n * PAUSE for day in range(days) for n in range(PER_DAY)]


def chain_of(host_id=HOST, days=3):
    chain = []
    for number, when in enumerate(times(days), start=1):
        body = a_body((an_image(arguments=[f"x{number}"]), an_event(time_ns=when)))
        previous = chain[-1] if chain else None
        chain.append(sealed_batch(body, number, previous, host_id=host_id, sealed_ns=when))
    return chain


def an_alert(minute, host_id=HOST, service="web", name=""):
    return findings.Finding(
        occurrence_id=f"{minute}{service}{name}",
        host_id=host_id,
        event_time=clock.to_timestamp(START + minute * MINUTE),
        actor=findings.Actor(service=service),
        alert=findings.Alert(alert_key=f"{minute}{service}"),
    )


@pytest.fixture
async def kept(store, tls, detector):
    """Two hosts with three days of batches; an incident on the first at minutes 15 to 20."""
    for host_id in (HOST, OTHER):
        await deliver(store.address, tls.host(host_id), chain_of(host_id), host_id)
    await received(store.database, START)
    await record(detector, an_alert(15), an_alert(20))
    return store


async def record(detector, *alerts):
    await detector.RecordFindings(api.RecordFindingsRequest(findings=alerts))


async def commands(store, host_id=HOST):
    """Numbers of the batches whose events are found."""
    numbers, cursor = [], ""
    while True:
        asked = api.SearchEventsRequest(
            filter=api.EventFilter(hosts=[host_id]), limit=1000, ascending=True, cursor=cursor
        )
        answer = await store.stub.SearchEvents(asked)
        numbers += [int(event.image.arguments[0][1:]) for event in answer.events]
        cursor = answer.next_cursor
        if not cursor:
            return numbers


async def copies(store):
    return await store.database["kept_bodies"].find().sort("_id", 1).to_list(None)


async def incident(store, place=0):
    return (await store.stub.ListIncidents(api.ListIncidentsRequest())).incidents[place]


async def in_custody(store, host_id=HOST):
    report = await custody(store, host_id)
    assert report.intact, report.chains[0].faults
    return report.chains[0].header_only_count


AROUND = [2, 3, 4, 5, 6, 7]  # minutes 5 to 30


async def test_ten_minutes_around_an_incident_stay_when_their_day_is_dropped(kept):
    for _ in range(2):
        await retention(kept.database, evidence_days=1).once(START + 2 * DAY_NS + PAUSE)
        assert await commands(kept) == [*AROUND, *range(9, 25)]
    assert await in_custody(kept) == 2
    assert await in_custody(kept, OTHER) == 8
    # What is kept is not told as missing.
    assert await gaps_of(kept) == [(START, 2)]
    assert await gaps_of(kept, OTHER) == [(START, 8)]
    asked = api.StreamBatchesRequest(filter=api.EventFilter(hosts=[HOST]))
    bodies = [b.body async for part in kept.stub.StreamBatches(asked) for b in part.batches]
    assert [bool(body) for body in bodies[:9]] == [False, *[True] * 6, False, True]
    found = await incident(kept)
    assert (found.kept_batch_count, found.left_out_batch_count) == (6, 0)
    assert found.kept_bytes == sum(size_of(a_row) for a_row in await copies(kept))
    (gap,) = (await kept.stub.ListGaps(api.ListGapsRequest(hosts=[HOST]))).gaps
    assert gap.gap.detail.endswith("; 6 more are kept around incidents")


async def test_a_quota_leaves_what_is_around_an_incident(kept):
    for _ in range(2):
        await retention(kept.database, host_bytes=1).once(clock.wall_ns())
    assert (await commands(kept), await commands(kept, OTHER)) == (AROUND, [])
    assert await in_custody(kept) == 18
    assert sum(lost for _, lost in await gaps_of(kept)) == 18


async def test_what_has_no_room_goes_and_is_told(kept):
    chain = chain_of()
    # Small bodies lie plain.
    sizes = [BatchHeader.FromString(batch.header).body_size_bytes for batch in chain[1:7]]
    room = sum(sizes[:3])
    old = retention(kept.database, most_bytes=room, evidence_days=1)
    for _ in range(2):
        await old.once(START + 2 * DAY_NS + PAUSE)
    found = await incident(kept)
    assert (found.kept_batch_count, found.left_out_batch_count) == (3, 3)
    assert (found.kept_bytes, found.left_out_bytes) == (room, sum(sizes[3:]))
    assert await commands(kept) == [2, 3, 4, *range(9, 25)]
    assert await gaps_of(kept) == [(START, 5)]
    assert await in_custody(kept) == 5


async def test_two_incidents_share_a_body_and_the_last_takes_it_along(kept, detector):
    await record(detector, an_alert(20, service="cron"), an_alert(3 * 1440, service="cron"))
    await kept.database["incidents"].update_many({}, {"$set": {"r": START}})
    long = retention(kept.database, evidence_days=1, incident_days=2)
    await long.once(START + 2 * DAY_NS)
    both = [await incident(kept, place) for place in range(3)]
    assert sorted(i.kept_batch_count for i in both) == [0, 5, 6]
    assert await commands(kept) == [*AROUND, *range(9, 25)]
    await long.once(START + 3 * DAY_NS)
    # Both that lay two days back are gone, and what they kept; the gap says so.
    assert len((await kept.stub.ListIncidents(api.ListIncidentsRequest())).incidents) == 1
    assert await commands(kept) == [*range(17, 25)]
    assert (await gaps_of(kept))[0] == (START, 8)
    assert await in_custody(kept) == 16
    counts = [await kept.database[n].count_documents({}) for n in ("kept", "kept_bodies")]
    assert counts == [0, 0]
    mark = await kept.database["removals"].find_one({"reason": "incident are kept for 2 days"})
    assert mark["count"] == 2


async def test_one_that_still_needs_a_body_keeps_it(kept, detector):
    old = retention(kept.database, evidence_days=1)
    await record(detector, an_alert(20, service="cron"))
    await old.once(START + 2 * DAY_NS)
    database = kept.database
    long_ago = {"t1": START - DAY_NS, "r": START - DAY_NS}
    await database["incidents"].update_one({"service": "web"}, {"$set": long_ago})
    await retention(database, incident_days=1).once(START + DAY_NS)
    assert (await incident(kept)).service == "cron"
    assert (await commands(kept))[:6] == [3, 4, 5, 6, 7, 9]
    assert await database["kept"].count_documents({"i": []}) == 0
    assert await gaps_of(kept) == [(START, 3)]


@pytest.mark.parametrize("dropped", [False, True])
async def test_erasure_by_authority_takes_copies_too(kept, dropped):
    if dropped:
        await retention(kept.database, evidence_days=1).once(START + 2 * DAY_NS)
    span = {
        "from_time": clock.to_timestamp(START + 10 * MINUTE),
        "to_time": clock.to_timestamp(START + 15 * MINUTE),
    }
    told = await kept.stub.EraseEvidence(erasure(dry_run=True, **span))
    assert (told.batch_count, told.event_count, told.size_bytes > 0) == (2, 2, True)
    await kept.stub.EraseEvidence(erasure(**span))
    told = await kept.stub.EraseEvidence(erasure(dry_run=True, **span))
    assert (told.batch_count, told.size_bytes) == (0, 0)
    await retention(kept.database, evidence_days=1).once(START + 2 * DAY_NS)
    assert (await commands(kept))[:5] == [2, 5, 6, 7, 9]
    assert (await incident(kept)).kept_batch_count == 4
    assert await kept.database["kept_bodies"].count_documents({}) == 4
    await in_custody(kept)


async def test_what_is_erased_while_it_is_copied_goes_too(kept):
    """The mark is there, the bodies are not gone yet: the moment in which copies are made."""
    removals = Removals(kept.database)
    span = (START + 10 * MINUTE, START + 15 * MINUTE)
    await removals.begin(of_authority(HOST, span, "A. Judge", "order", clock.wall_ns()))
    await retention(kept.database, evidence_days=1).once(START + 2 * DAY_NS)
    assert await kept.database["kept_bodies"].count_documents({}) == 4
    assert (await commands(kept))[:5] == [2, 5, 6, 7, 9]


async def test_a_copy_that_a_killed_run_made_of_what_was_erased_goes(kept):
    old = retention(kept.database, evidence_days=1)
    await old.once(START + 2 * DAY_NS)
    # The mark of an erasure that saw no copies; the run that made them was killed right then.
    removals = Removals(kept.database)
    span = (START + 10 * MINUTE, START + 15 * MINUTE)
    mark = of_authority(HOST, span, "A. Judge", "order", clock.wall_ns())
    await removals.end(await removals.begin(mark))
    day = (await kept.database["kept"].find_one())["day"]
    await kept.database["removals"].update_one({"day": day}, {"$set": {"done": False}})
    await old.once(START + 2 * DAY_NS)
    assert await kept.database["kept_bodies"].count_documents({}) == 4


async def test_a_copy_that_was_changed_is_found_out(kept):
    await retention(kept.database, evidence_days=1).once(START + 2 * DAY_NS)
    bodies = kept.database["kept_bodies"]
    rows = await copies(kept)
    await bodies.update_one({"_id": rows[0]["_id"]}, {"$set": {"p": rows[1]["p"]}})
    report = await custody(kept)
    assert [fault.batch_number for fault in report.chains[0].faults] == [2]


RUN = """
import asyncio, sys
from chassis import mongo
from tests.services.store.killed import killed_at
from tests.services.store.test_retention import retention
async def main(url, name, now_ns, command, collection, number):
    killed_at(command, collection, int(number))
    await retention(mongo.connect(url)[name], evidence_days=1).once(int(now_ns))
asyncio.run(main(*sys.argv[1:]))
"""
MANY = 5


@pytest.mark.parametrize(
    "at", [("update", "kept_bodies", 1), ("update", "kept", 4), ("drop", "bodies_", 3)]
)
async def test_a_run_that_was_killed_loses_nothing_that_is_to_be_kept(
    store, tls, detector, mongo_url, at
):
    await deliver(store.address, tls.host(), chain_of(days=MANY), HOST)
    await received(store.database, START)
    await record(detector, *(an_alert(day * 1440 + 15, service=f"s{day}") for day in range(MANY)))
    now_ns = START + (MANY + 5) * DAY_NS
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    arguments = ("-c", RUN, mongo_url, store.database.name, str(now_ns), *map(str, at))
    run = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    assert await run.wait() == -signal.SIGKILL
    await in_custody(store)
    await retention(store.database, evidence_days=1).once(now_ns)
    assert await bodies_of(store) == {}
    right = [day * PER_DAY + n for day in range(MANY) for n in range(2, 7)]
    assert await commands(store) == right
    assert await in_custody(store) == MANY * PER_DAY - len(right)
    assert [lost for _, lost in await gaps_of(store)] == [3] * MANY


def test_incidents_outlive_evidence(tmp_path):
    values = {"tls_dir": tmp_path, "NIGHTHERD_MONGO_URL": "mongodb://x"}
    Settings(**values, evidence_days=30, incident_days=30)
    Settings(**values, incident_days=1)
    with pytest.raises(ValueError, match="not be fewer than evidence_days"):
        Settings(**values, evidence_days=30, incident_days=29)
