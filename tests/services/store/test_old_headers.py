"""Where headers are not kept for good, whole days of them go, and a chain begins later."""

import asyncio
import os
import signal
import sys

import pytest

from chassis import clock
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.store.v1 import store_service_pb2 as api
from services.store.domain.places import collection_of
from services.store.repository.days import Days
from services.store.repository.header_days import OLD, HeaderDays
from services.store.repository.kept import Kept
from services.store.settings import Settings
from tests.builders import HOST, T0, a_body, an_event, an_image, sealed_batch
from tests.conftest import ROOT
from tests.services.store.test_custodian import custodian
from tests.services.store.test_retention import (
    DAY_NS,
    OTHER,
    bodies_of,
    custody,
    daily,
    gaps_of,
    received,
    retention,
)
from tests.services_client import deliver


async def days_of(store):
    names = await store.database.list_collection_names(filter={"name": {"$regex": "^batches_"}})
    return sorted(names)


async def dropped(store, days=2, now_ns=T0 + 5 * DAY_NS):
    await retention(store.database, evidence_days=1, headers_days=days).once(now_ns)


@pytest.fixture
async def chain(store, tls):
    """Six days of a host, two batches each, of which headers of two days are kept."""
    sent = daily(6, per_day=2)
    await deliver(store.address, tls.host(), sent, HOST)
    await received(store.database, T0)
    await dropped(store)
    return sent


async def test_whole_days_of_headers_go_and_the_chain_begins_later(store, chain):
    assert await days_of(store) == [collection_of(T0 + day * DAY_NS) for day in (3, 4, 5)]
    (report,) = (await custody(store)).chains
    assert not report.faults
    assert (report.first, report.last, report.dropped_through) == (7, 12, 6)
    assert report.header_only_count == 2
    assert len(await gaps_of(store)) == 4  # gaps stay
    host = (await store.stub.ListHosts(api.ListHostsRequest())).hosts[0]
    assert (host.batch_count, host.event_count) == (12, 12)  # of all that ever came
    asked = api.EventFilter(hosts=[HOST])
    found = await store.stub.SearchEvents(api.SearchEventsRequest(filter=asked, limit=50))
    assert len(found.events) == 4
    counted = await store.stub.SummariseEvents(
        api.SummariseEventsRequest(filter=asked, facets=["kind"], slice_seconds=3600)
    )
    assert (counted.total_count, counted.complete) == (6, True)
    parts = store.stub.StreamBatches(api.StreamBatchesRequest(filter=asked))
    assert sum([len(part.batches) async for part in parts]) == 6
    (mark,) = await store.database["removals"].find({"_id": {"$regex": "^headers"}}).to_list(1)
    assert (mark["reason"], mark["done"]) == ("headers are kept for 2 days", True)
    await dropped(store)
    assert (await custody(store)).chains[0] == report


async def test_what_is_sent_again_is_acknowledged_and_not_stored(store, tls, chain):
    before = await days_of(store), await bodies_of(store)
    # The last hashes of a chain decide first; those of a long one are forgotten.
    await store.database["chains"].update_many({}, {"$unset": {"recent": True}})
    assert not (await deliver(store.address, tls.host(), chain, HOST)).rejections
    assert (await days_of(store), await bodies_of(store)) == before
    assert (await custody(store)).intact


async def test_a_batch_sealed_later_under_a_number_that_went_is_kept_as_a_fork(store, tls, chain):
    await store.database["chains"].update_many({}, {"$unset": {"recent": True}})
    body = a_body((an_image("/usr/bin/back"), an_event()))
    now = sealed_batch(body, 2, sealed_ns=T0 + 9 * DAY_NS)
    assert not (await deliver(store.address, tls.host(), [now], HOST)).rejections
    kept = [row["f"] for day in await days_of(store) async for row in store.database[day].find()]
    assert ["unsigned", "fork"] in kept
    assert await store.database["alerts"].count_documents({}) == 1
    faults = (await custody(store)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(2, "fork")]


async def test_what_is_missing_behind_the_days_that_went_is_a_fault(store, chain):
    days = await days_of(store)
    await store.database[days[0]].delete_many({"n": 7})
    await store.database[days[1]].delete_many({"n": 10})
    faults = (await custody(store)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(7, "missing"), (10, "missing")]


async def test_heads_are_vouched_for_only_behind_the_days_that_went(store, chain):
    head = api.VerifyCustodyRequest.Head
    chain_id = (await custody(store)).chains[0].chain_id
    heads = [head(chain_id=chain_id, number=n, hash="0" * 64) for n in (3, 8, 99)]
    asked = api.VerifyCustodyRequest(host_id=HOST, heads=heads)
    faults = (await store.stub.VerifyCustody(asked)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(8, "rolled back"), (99, "rolled back")]


async def test_a_chain_of_which_all_is_gone_is_whole(store, tls, chain):
    await dropped(store, now_ns=T0 + 90 * DAY_NS)
    assert await days_of(store) == []
    report = await custody(store)
    assert (report.intact, report.chains[0].dropped_through) == (True, 12)
    # A restored store walks everything anew, and misses nothing.
    await store.database["walks"].delete_many({})
    await custodian(store.database).walk_links()
    assert await store.database["alerts"].count_documents({}) == 0
    following = sealed_batch(a_body((an_image(), an_event())), 13, chain[-1])
    await deliver(store.address, tls.host(), [following], HOST)
    report = await custody(store)
    assert (report.intact, report.chains[0].first) == (True, 13)


async def test_what_came_late_keeps_the_headers_of_its_day(store, tls, chain):
    await deliver(store.address, tls.host(OTHER), daily(1, OTHER), OTHER)
    day = collection_of(T0)
    await store.database[day].update_many({}, {"$set": {"r": T0 + 8 * DAY_NS}})
    await dropped(store, now_ns=T0 + 9 * DAY_NS)
    assert await days_of(store) == [day]
    assert (await custody(store, OTHER)).chains[0].batch_count == 1


async def test_what_comes_in_the_very_moment_is_put_back(store, chain):
    day = (await days_of(store))[0]
    await store.database[day].update_many({"n": 8}, {"$set": {"r": T0 + 99 * DAY_NS}})
    indexes = await store.database[day].index_information()
    await HeaderDays(store.database, Days(store.database)).drop(day, T0 + 98 * DAY_NS)
    rows = await store.database[day].find().to_list(None)
    assert [row["n"] for row in rows] == [8]
    assert await store.database[day].index_information() == indexes


@pytest.mark.parametrize("killed", [False, True])
async def test_copies_around_incidents_go_with_their_headers(store, tls, detector, killed):
    start = T0 - 400 * DAY_NS
    body = a_body((an_image(), an_event(time_ns=start)))
    await deliver(store.address, tls.host(), [sealed_batch(body, sealed_ns=start)], HOST)
    await received(store.database, start)
    alert = findings.Finding(occurrence_id="a", host_id=HOST, event_time=clock.to_timestamp(start))
    alert.alert.alert_key = "a"
    await detector.RecordFindings(api.RecordFindingsRequest(findings=[alert]))
    await dropped(store, now_ns=start + 2 * DAY_NS)
    assert await store.database["kept_bodies"].count_documents({}) == 1
    assert await gaps_of(store) == []
    if killed:  # between the bodies and the rows
        await Kept(store.database).release_day(collection_of(start))
        await store.database["kept_bodies"].delete_many({})
    await dropped(store, now_ns=start + 3 * DAY_NS)
    assert await store.database["kept_bodies"].count_documents({}) == 0
    assert await store.database["kept"].count_documents({}) == 0
    assert await gaps_of(store) == [(start, 1)]
    assert (await custody(store)).intact
    assert len((await store.stub.ListIncidents(api.ListIncidentsRequest())).incidents) == 1


RUN = """
import asyncio, sys
from chassis import mongo
from tests.services.store.killed import killed_at
from tests.services.store.test_retention import retention
async def main(url, name, now_ns, command, collection, number):
    killed_at(command, collection, int(number))
    database = mongo.connect(url)[name]
    await retention(database, evidence_days=1, headers_days=2).once(int(now_ns))
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "at", [("update", "chains", 2), ("renameCollection", "", 2), ("drop", OLD, 2)]
)
async def test_a_run_that_was_killed_is_finished_by_the_next(store, tls, mongo_url, at):
    await deliver(store.address, tls.host(), daily(6, per_day=2), HOST)
    await received(store.database, T0)
    now_ns = T0 + 5 * DAY_NS
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    arguments = ("-c", RUN, mongo_url, store.database.name, str(now_ns), *map(str, at))
    run = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    assert await run.wait() == -signal.SIGKILL
    assert (await custody(store)).intact
    await dropped(store)
    assert await days_of(store) == [collection_of(T0 + day * DAY_NS) for day in (3, 4, 5)]
    old = {"name": {"$regex": f"^{OLD}"}}
    assert await store.database.list_collection_names(filter=old) == []
    assert (await custody(store)).chains[0].dropped_through == 6


def test_headers_outlive_bodies(tmp_path):
    values = {"tls_dir": tmp_path, "NIGHTHERD_MONGO_URL": "mongodb://x"}
    Settings(**values, evidence_days=30, headers_days=30)
    for days in ({"headers_days": 30}, {"evidence_days": 31, "headers_days": 30}):
        with pytest.raises(ValueError, match="headers outlive bodies"):
            Settings(**values, **days)
