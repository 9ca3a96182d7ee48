"""Retention: what goes, what stays, and that it stays known."""

import asyncio
import os
import signal
import sys

import pytest

from chassis import clock, mongo
from nightherd.detector.v1 import finding_pb2
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from services.store.domain.removals import RETENTION, of_day
from services.store.eraser import Eraser
from services.store.keeping import Keeper
from services.store.old_headers import OldHeaders
from services.store.old_incidents import OldIncidents
from services.store.repository.chains import Chains
from services.store.repository.days import Days
from services.store.repository.findings import Findings
from services.store.repository.header_days import HeaderDays
from services.store.repository.hosts import Hosts
from services.store.repository.incidents import Incidents
from services.store.repository.kept import Kept
from services.store.repository.leases import Leases
from services.store.repository.removals import OldFindings, Removals
from services.store.repository.sessions import Sessions
from services.store.retention import Keep, Retention
from tests.builders import HOST, T0, a_body, a_chain, an_event, an_image, sealed_batch
from tests.conftest import ROOT
from tests.services_client import deliver

DAY_NS = 86_400 * clock.NS
OTHER = "1" * 32


def retention(database, most_bytes=1 << 20, **keep):
    """Retention over `database`, to be run at any time."""
    removals, incidents, kept = Removals(database), Incidents(database), Kept(database)
    eraser = Eraser(removals, Hosts(database), Keeper(incidents, kept, removals, most_bytes))
    return Retention(
        Keep(**keep),
        removals,
        eraser,
        OldFindings(database),
        OldIncidents(incidents, kept, removals, eraser),
        OldHeaders(HeaderDays(database, Days(database)), Chains(database), kept, removals, eraser),
        Sessions(database),
        Leases(database),
    )


def daily(days, host_id=HOST, per_day=1):
    """A chain over several days."""
    chain = []
    for number in range(days * per_day):
        when = T0 + number // per_day * DAY_NS + number % per_day * clock.NS
        body = a_body((an_image(), an_event(time_ns=when)))
        previous = chain[-1] if chain else None
        chain.append(sealed_batch(body, number + 1, previous, host_id=host_id, sealed_ns=when))
    return chain


async def received(database, at_ns):
    """Pretend that all there is came at `at_ns`: tests do not wait for days."""
    for name in await database.list_collection_names(filter={"name": {"$regex": "^batches_"}}):
        await database[name].update_many({}, {"$set": {"r": at_ns}})


async def custody(store, host_id=HOST):
    return await store.stub.VerifyCustody(api.VerifyCustodyRequest(host_id=host_id))


async def bodies_of(store):
    names = await store.database.list_collection_names(filter={"name": {"$regex": "^bodies_"}})
    # By the metadata: a day may be dropped while its documents are counted.
    return {name: await store.database[name].estimated_document_count() for name in sorted(names)}


async def gaps_of(store, host_id=HOST):
    answer = await store.stub.ListGaps(api.ListGapsRequest(hosts=[host_id]))
    return sorted((clock.from_timestamp(g.gap.start_time), g.gap.lost) for g in answer.gaps)


async def test_whole_days_of_bodies_go_and_it_stays_known(store, tls):
    await deliver(store.address, tls.host(), daily(5, per_day=2), HOST)
    await received(store.database, T0)
    await retention(store.database, evidence_days=2).once(T0 + 4 * DAY_NS)
    assert list((await bodies_of(store)).values()) == [2, 2, 2]
    report = await custody(store)
    assert report.intact
    (chain,) = report.chains
    assert (chain.batch_count, chain.header_only_count, chain.event_count) == (10, 4, 10)
    assert await gaps_of(store) == [(T0, 2), (T0 + DAY_NS, 2)]
    (gap, _) = (await store.stub.ListGaps(api.ListGapsRequest())).gaps
    assert (gap.gap.cause, gap.gap.source) == (events.Gap.CAUSE_RETENTION, RETENTION)


async def test_a_body_that_nobody_removed_is_missed(store, tls):
    await deliver(store.address, tls.host(), daily(3), HOST)
    names = list(await bodies_of(store))
    await store.database[names[1]].drop()
    report = await custody(store)
    assert not report.intact
    found = [(fault.batch_number, fault.kind) for fault in report.chains[0].faults]
    assert found == [(2, "body missing")]


async def test_what_is_sent_again_after_retention_changes_nothing(store, tls):
    chain = daily(4)
    await deliver(store.address, tls.host(), chain, HOST)
    await received(store.database, T0)
    old = retention(store.database, evidence_days=1)
    await old.once(T0 + 3 * DAY_NS)
    before = await bodies_of(store), await gaps_of(store)
    # Over midnight, before and behind what was dropped; the same as a second version too.
    await deliver(store.address, tls.host(), chain, HOST)
    await deliver(store.address, tls.host(), chain[1:3], HOST)
    assert (await bodies_of(store), await gaps_of(store)) == before
    assert (await custody(store)).intact
    host = (await store.stub.ListHosts(api.ListHostsRequest(hosts=[HOST]))).hosts[0]
    assert (host.batch_count, host.event_count) == (4, 4)
    forged = sealed_batch(a_body((an_image(pid=9), an_event())), 2, chain[0], sealed_ns=T0)
    await deliver(store.address, tls.host(), [forged], HOST)
    assert [f.kind for f in (await custody(store)).chains[0].faults] == ["fork"]


async def test_what_came_late_stays_as_long_as_anything_else(store, tls):
    await deliver(store.address, tls.host(), daily(1), HOST)
    await received(store.database, T0)
    await deliver(store.address, tls.host(OTHER), daily(1, OTHER), OTHER)
    (name,) = await bodies_of(store)
    day = store.database[name.replace("bodies", "batches")]
    await day.update_many({"h": OTHER}, {"$set": {"r": T0 + 9 * DAY_NS}})
    old = retention(store.database, evidence_days=2)
    for _ in range(2):
        await old.once(T0 + 10 * DAY_NS)
        assert await bodies_of(store) == {name: 1}
    assert (await gaps_of(store), await gaps_of(store, OTHER)) == ([(T0, 1)], [])
    assert (await custody(store)).intact
    assert (await custody(store, OTHER)).chains[0].header_only_count == 0
    await old.once(T0 + 12 * DAY_NS)
    assert await bodies_of(store) == {}
    assert (await custody(store, OTHER)).chains[0].header_only_count == 1
    assert await gaps_of(store, OTHER) == [(T0, 1)]


async def test_what_was_sealed_in_the_future_is_kept_as_long_as_anything_else(store, tls):
    far = sealed_batch(None, sealed_ns=T0 + 9999 * DAY_NS)
    undated = sealed_batch(None, 2, far, sealed_ns=0)
    await deliver(store.address, tls.host(), [far, undated], HOST)
    await received(store.database, T0)
    old = retention(store.database, evidence_days=2)
    await old.once(T0 + 2 * DAY_NS)
    assert list((await bodies_of(store)).values()) == [1, 1]
    await old.once(T0 + 3 * DAY_NS)
    assert await bodies_of(store) == {}
    report = await custody(store)
    assert (report.intact, report.chains[0].header_only_count) == (True, 2)


async def test_a_quota_takes_only_the_hosts_own_oldest(store, tls):
    mine = daily(3, per_day=4)
    await deliver(store.address, tls.host(), mine, HOST)
    await deliver(store.address, tls.host(OTHER), daily(1, OTHER), OTHER)
    quota = sum(len(batch.body) for batch in mine[6:])
    for _ in range(2):
        await retention(store.database, host_bytes=quota).once(clock.wall_ns())
        assert list((await bodies_of(store)).values()) == [1, 2, 4]
    report = await custody(store)
    assert (report.intact, report.chains[0].header_only_count) == (True, 6)
    assert (await custody(store, OTHER)).chains[0].header_only_count == 0
    assert await gaps_of(store) == [(T0, 4), (T0 + DAY_NS, 2)]
    await retention(store.database, host_bytes=1).once(clock.wall_ns())
    assert (await custody(store)).chains[0].header_only_count == 12


async def test_old_findings_go_and_new_ones_stay(store):
    findings = Findings(store.database, Incidents(store.database))
    found = []
    for number in range(4):
        key = f"{number:064x}"
        finding = finding_pb2.Finding(
            occurrence_id=key, host_id=HOST, event_time=clock.to_timestamp(T0 + number * DAY_NS)
        )
        if number % 2:
            finding.alert.alert_key = key
        else:
            finding.activity.activity_id = key
        found.append(finding)
    await findings.record(found)
    await retention(store.database, activities_days=2).once(T0 + 3 * DAY_NS)
    database = store.database
    left = [await database[n].count_documents({}) for n in ("activities", "alerts", "occurrences")]
    assert left == [1, 2, 3]
    mark = await database["removals"].find_one({"count": 1})
    assert (mark["why"], mark["reason"]) == ("retention", "activity are kept for 2 days")


async def test_the_task_itself_does_it_and_takes_both_clocks_for_right(store, tls):
    await deliver(store.address, tls.host(), daily(3), HOST)
    await received(store.database, T0)
    task = asyncio.create_task(retention(store.database, evidence_days=1).run(0.05))
    try:
        async with asyncio.timeout(60):
            while await bodies_of(store):  # T0 is long ago
                await asyncio.sleep(0.05)
                assert not task.done()
    finally:
        task.cancel()
    assert (await custody(store)).intact


async def test_one_replica_at_a_time(store):
    one, other = Leases(store.database), Leases(store.database)
    assert await one.take("cleaning", 60)
    assert not await other.take("cleaning", 60)
    assert await one.take("cleaning", 0)
    async with asyncio.timeout(60):
        while not await other.take("cleaning", 60):
            await asyncio.sleep(0.005)
    await one.give_back("cleaning")
    assert not await one.take("cleaning", 60)


RUN = """
import asyncio, sys
from chassis import mongo
from tests.services.store.killed import killed_at
from tests.services.store.test_retention import retention
async def main(url, name, now_ns, number):
    killed_at("drop", "bodies_", int(number))
    await retention(mongo.connect(url)[name], evidence_days=1, host_bytes=2000).once(int(now_ns))
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("at_day", [1, 8, 14])
async def test_a_run_that_was_killed_is_finished_by_the_next(store, tls, mongo_url, at_day):
    days = 20
    await deliver(store.address, tls.host(), daily(days, per_day=3), HOST)
    await received(store.database, T0)
    now_ns = T0 + (days + 5) * DAY_NS
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    arguments = ("-c", RUN, mongo_url, store.database.name, str(now_ns), str(at_day))
    run = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    assert await run.wait() == -signal.SIGKILL
    assert len(await bodies_of(store)) == days - at_day + 1
    report = await custody(store)
    assert report.intact
    await retention(store.database, evidence_days=1).once(now_ns)
    assert await bodies_of(store) == {}
    assert await Removals(store.database).undone() == []
    assert (await custody(store)).chains[0].header_only_count == days * 3
    assert [lost for _, lost in await gaps_of(store)] == [3] * days
    assert isinstance(store.database, mongo.Database)


async def test_a_run_that_was_killed_right_behind_a_drop_is_finished_too(store, tls):
    await deliver(store.address, tls.host(), daily(2), HOST)
    await received(store.database, T0)
    (name, _) = await bodies_of(store)
    removals = Removals(store.database)
    await removals.begin(of_day(name.replace("bodies", "batches"), T0 + DAY_NS, 1))
    await store.database[name].drop()
    await retention(store.database).once(T0 + 9 * DAY_NS)
    assert await removals.undone() == []
    assert await gaps_of(store) == [(T0, 1)]
    assert (await custody(store)).intact


def erasure(**fields):
    values = {
        "host_id": HOST,
        "from_time": clock.to_timestamp(T0 + DAY_NS),
        "to_time": clock.to_timestamp(T0 + 2 * DAY_NS),
        "authority": "A. Judge, district court",
        "reason": "order 12/26",
    }
    return api.EraseEvidenceRequest(**{**values, **fields})


async def test_erasure_by_authority_leaves_headers_a_mark_and_a_gap(store, tls):
    await deliver(store.address, tls.host(), daily(4), HOST)
    await deliver(store.address, tls.host(OTHER), daily(4, OTHER), OTHER)
    for _ in range(2):
        done = await store.stub.EraseEvidence(erasure())
        assert (done.batch_count, done.event_count) == (2, 2)
    assert list((await bodies_of(store)).values()) == [2, 1, 1, 2]
    assert await gaps_of(store) == [(T0 + DAY_NS, 1), (T0 + 2 * DAY_NS, 1)]
    report = await custody(store)
    assert (report.intact, report.chains[0].header_only_count) == (True, 2)
    (mark,) = await store.database["removals"].find({"why": "authority"}).to_list(None)
    assert (mark["who"], mark["reason"]) == ("A. Judge, district court", "order 12/26")
    erased = [
        row
        for name in await store.database.list_collection_names(
            filter={"name": {"$regex": "^batches_"}}
        )
        async for row in store.database[name].find({"h": HOST, "x": []})
    ]
    assert len(erased) == 2


async def test_a_dry_run_says_what_would_go_and_removes_nothing(store, tls):
    await deliver(store.address, tls.host(), daily(4), HOST)
    before = await bodies_of(store)
    told = await store.stub.EraseEvidence(erasure(dry_run=True, authority="", reason=""))
    assert (told.batch_count, told.event_count) == (2, 2)
    assert told.size_bytes > 0
    assert await bodies_of(store) == before
    assert await gaps_of(store) == []
    assert await store.database["removals"].count_documents({}) == 0
    done = await store.stub.EraseEvidence(erasure())
    assert (done.batch_count, done.size_bytes) == (2, told.size_bytes)
    again = await store.stub.EraseEvidence(erasure(dry_run=True))
    assert (again.batch_count, again.event_count, again.size_bytes) == (0, 0, 0)


async def test_batches_that_were_set_aside_go_and_are_counted(store, tls):
    await deliver(store.address, tls.host(), a_chain([None]), HOST)
    await store.database["aside"].insert_one({"_id": "x", "h": HOST, "batch": b"\xff"})
    for dry_run, left in ((True, 1), (False, 0)):
        told = await store.stub.EraseEvidence(erasure(dry_run=dry_run))
        assert told.set_aside_count == 1
        assert await store.database["aside"].count_documents({}) == left


async def test_a_mark_does_not_excuse_what_came_after_it(store, tls):
    chain = daily(4)
    await deliver(store.address, tls.host(), chain[:2], HOST)
    await store.stub.EraseEvidence(erasure())
    await deliver(store.address, tls.host(), chain[2:], HOST)
    names = list(await bodies_of(store))
    await store.database[names[-2]].delete_many({})
    faults = (await custody(store)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(3, "body missing")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host_id": OTHER}, "There is no host"),
        ({"authority": " "}, "authority"),
        ({"reason": "x" * 1001}, "reason"),
    ],
)
async def test_an_erasure_that_cannot_be_is_refused(store, tls, fields, said):
    from grpc import aio

    await deliver(store.address, tls.host(), a_chain([None]), HOST)
    with pytest.raises(aio.AioRpcError, match=said):
        await store.stub.EraseEvidence(erasure(**fields))
    assert list((await bodies_of(store)).values()) == [1]
