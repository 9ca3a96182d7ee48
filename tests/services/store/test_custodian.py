"""The custodian: broken chains are found soon, damaged bodies in time, lying indexes put right."""

import asyncio

import pytest

from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from services.store.custodian import Custodian, Pace
from services.store.repository.batches import Batches
from services.store.repository.custody import Custody
from services.store.repository.days import Days
from services.store.repository.findings import Findings
from services.store.repository.hosts import Hosts
from services.store.repository.incidents import Incidents
from services.store.repository.leases import Leases
from services.store.repository.removals import Removals
from tests.builders import HOST, T0, a_body, a_chain, an_event, an_image, changes, sealed_batch
from tests.services_client import deliver


def custodian(database):
    batches = Batches(database)
    return Custodian(
        Custody(database, Days(database)),
        batches,
        Removals(database),
        Hosts(database),
        Findings(database, Incidents(database)),
        Leases(database),
    )


async def scrub_all(database):
    walking = custodian(database)
    while await walking.scrub_some() is not None:
        pass


async def alerts(store):
    answer = await store.stub.ListAlerts(api.ListAlertsRequest())
    return {a.finding.alert.attack_type: (a.count, a.finding.alert.message) for a in answer.alerts}


async def day_of(store, prefix="batches_"):
    (name,) = await store.database.list_collection_names(filter={"name": {"$regex": f"^{prefix}"}})
    return store.database[name]


async def test_whole_chains_raise_nothing_and_are_walked_once(store, tls):
    chain = a_chain([None] * 9)
    walking = custodian(store.database)
    for part in (chain[:4], chain[4:]):
        await deliver(store.address, tls.host(), part, HOST)
        await walking.walk_links()
    assert [s async for s in Custody(store.database, None).stretches()] == []
    await scrub_all(store.database)
    assert await alerts(store) == {}


async def test_a_link_that_two_streams_broke_is_found(store, tls):
    chain = a_chain([None] * 3)
    await deliver(store.address, tls.host(), chain, HOST)
    walking = custodian(store.database)
    await walking.walk_links()
    torn = sealed_batch(None, 4, previous_hash=b"\7" * 32)
    await deliver(store.address, tls.host(), [torn], HOST)
    for _ in range(2):
        await walking.walk_links()
    (count, message) = (await alerts(store))["custodyBroken"]
    assert count == 1
    assert "Batch 4" in message
    assert "broken link" in message


@pytest.mark.parametrize(("what", "said"), [("altered", "altered"), ("deleted", "gone")])
async def test_what_was_changed_behind_the_stores_back_is_found(store, tls, what, said):
    await deliver(store.address, tls.host(), a_chain([None] * 5), HOST)
    day = await day_of(store)
    if what == "altered":
        other = sealed_batch(a_body((an_image(pid=8), an_event())), 3)
        await day.update_one({"n": 3}, {"$set": {"k": other.header}})
    else:
        await day.delete_one({"n": 3})
    await custodian(store.database).walk_links()
    assert "custodyBroken" in await alerts(store)
    rows = await store.database["occurrences"].find({"k": "alert"}).to_list(None)
    assert any(b"Batch 3" in row["f"] and said.encode() in row["f"] for row in rows)


async def test_the_running_store_walks_by_itself(store, tls):
    task = asyncio.create_task(custodian(store.database).run(Pace(0.1, 1 << 20, 0)))
    await store.database["leases"].delete_many({"_id": "custody"})
    await deliver(store.address, tls.host(), a_chain([None] * 5), HOST)
    bodies = await day_of(store, "bodies_")
    await bodies.update_one({}, {"$set": {"b": b"nothing"}, "$unset": {"p": True}})
    async with asyncio.timeout(60):
        while "custodyBroken" not in await alerts(store):
            await asyncio.sleep(0.05)
    task.cancel()
    assert "zstd" in (await alerts(store))["custodyBroken"][1]


async def test_a_body_that_is_gone_without_a_mark_is_found(store, tls):
    await deliver(store.address, tls.host(), a_chain([None] * 3), HOST)
    bodies = await day_of(store, "bodies_")
    first = await bodies.find_one({})
    await bodies.delete_one({"_id": first["_id"]})
    await scrub_all(store.database)
    assert "nothing says that it was removed" in (await alerts(store))["custodyBroken"][1]


async def test_a_header_that_cannot_be_read_does_not_stop_the_round(store, tls):
    await deliver(store.address, tls.host(), a_chain([None] * 40), HOST)
    headers, bodies = await day_of(store), await day_of(store, "bodies_")
    await headers.update_many({"n": {"$in": [1, 2]}}, {"$set": {"k": b"\xff"}})
    await bodies.delete_one({"_id": (await headers.find_one({"n": 1}))["_id"]})
    await bodies.update_one(
        {"_id": (await headers.find_one({"n": 39}))["_id"]},
        {"$set": {"b": b""}, "$unset": {"p": True}},
    )
    await scrub_all(store.database)
    count, _ = (await alerts(store))["custodyBroken"]
    assert count == 3


async def test_bodies_that_were_erased_raise_nothing(store, tls):
    await deliver(store.address, tls.host(), a_chain([None] * 3), HOST)
    await store.stub.EraseEvidence(
        api.EraseEvidenceRequest(host_id=HOST, authority="A. Judge", reason="order 1")
    )
    await scrub_all(store.database)
    assert await alerts(store) == {}


async def test_a_lying_index_is_found_and_put_right(store, tls):
    hidden = an_event(file_change=changes("/etc/shadow"))
    batch = sealed_batch(a_body((an_image("/bin/evil"), hidden)))
    batch.index.CopyFrom(sealed_batch(a_body((an_image("/bin/true"), an_event()))).index)
    await deliver(store.address, tls.host(), [batch], HOST)

    async def found():
        asked = api.EventFilter(paths=["/etc/shadow"])
        answer = await store.stub.SearchEvents(api.SearchEventsRequest(filter=asked))
        return len(answer.events)

    assert await found() == 0
    await scrub_all(store.database)
    assert await found() == 1
    assert "its index does not say" in (await alerts(store))["lyingHeader"][1]
    await scrub_all(store.database)
    assert (await alerts(store))["lyingHeader"][0] == 1


async def test_a_header_that_lies_about_time_and_number_is_found_and_put_right(store, tls):
    batch = sealed_batch(None, event_count=7, first_event_time=None, last_event_time=None)
    await deliver(store.address, tls.host(), [batch], HOST)
    await scrub_all(store.database)
    message = (await alerts(store))["lyingHeader"][1]
    assert "says 7 events and holds 1" in message
    assert "other times" in message
    row = await (await day_of(store)).find_one({})
    assert (row["t0"], row["t1"], row["w"]) == (0, T0, True)


async def test_an_old_index_is_made_anew_silently(store, tls):
    body = a_body((an_image(), an_event(exit=events.Exit())))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    day = await day_of(store)
    whole = await day.find_one({})
    await day.update_one({}, {"$set": {"xv": 1, "v": {}, "x": ["k:exit"]}})
    await scrub_all(store.database)
    assert await day.find_one({}) == whole
    assert await alerts(store) == {}
