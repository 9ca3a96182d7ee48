"""Batches as they lie, for exports: whole, in order, resumable, only what may match."""

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import clock
from evidence.matching import Matcher
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from tests.builders import T0, a_body, a_chain, an_event, an_image, changes, sealed_batch
from tests.services_client import deliver

DAY_NS = 86_400 * clock.NS
HOSTS = [f"{number:032x}" for number in (1, 2, 3)]


def body(number):
    image = an_image(f"/usr/bin/p{number % 3}", user=("root", "zoe")[number % 2])
    kind = {"file_change": changes(f"/etc/f{number}")} if number % 2 else {"exec": events.Exec()}
    return a_body((image, an_event(time_ns=T0 + number * DAY_NS // 4, **kind)))


async def stream(store, position="", from_batch_id="", **asked):
    request = pb.StreamBatchesRequest(
        filter=pb.EventFilter(**asked), position=position, from_batch_id=from_batch_id
    )
    return [batch async for part in store.stub.StreamBatches(request) for batch in part.batches]


@pytest.fixture
async def chains(store, tls):
    made = {}
    for number, host_id in enumerate(HOSTS):
        chain_id = bytes([number]) * 16
        made[host_id] = a_chain(
            [body(n) for n in range(12)],
            host_id=host_id,
            chain_id=chain_id,
            herd=("web", "db")[number % 2],
        )
        identity = tls.host(host_id, herd=("web", "db")[number % 2])
        await deliver(store.address, identity, made[host_id], host_id)
    return made


async def test_every_batch_comes_as_it_was_sealed_days_in_order(store, chains):
    found = await stream(store)
    sent = {batch.header: batch for chain in chains.values() for batch in chain}
    assert {batch.header for batch in found} == sent.keys()
    assert len(found) == len(sent)
    assert all(batch.body == sent[batch.header].body for batch in found)
    positions = [batch.position for batch in found]
    assert positions == sorted(positions)
    assert len({position.partition("/")[0] for position in positions}) == 4


async def test_the_walk_goes_on_behind_any_batch_and_with_any_batch(store, chains):
    for asked in ({}, {"hosts": HOSTS[1:]}, {"kinds": ["exec"]}):
        found = await stream(store, **asked)
        for place in (0, 5, 16, len(found) - 1):
            behind = await stream(store, position=found[place].position, **asked)
            assert [b.batch_id for b in behind] == [b.batch_id for b in found[place + 1 :]]
            again = await stream(store, from_batch_id=found[place].batch_id, **asked)
            assert [b.batch_id for b in again] == [b.batch_id for b in found[place:]]


@pytest.mark.parametrize(
    "asked",
    [
        {"hosts": [HOSTS[2]]},
        {"herds": ["db"]},
        {"kinds": ["file_change"]},
        {"users": ["zoe"], "executables": ["/usr/bin/p1"]},
        {"path_prefixes": ["/etc/f3"]},
        {"from_time": clock.to_timestamp(T0 + DAY_NS), "to_time": clock.to_timestamp(T0 + DAY_NS)},
    ],
    ids=",".join,
)
async def test_only_batches_that_may_match_are_sent_and_all_that_do(store, chains, asked):
    matcher = Matcher(pb.EventFilter(**asked))
    expected = {
        batch.header
        for host_id, chain in chains.items()
        for number, batch in enumerate(chain)
        if matcher.places(body(number))
        and (not asked.get("hosts") or host_id in asked["hosts"])
        and matcher.herd(("web", "db")[HOSTS.index(host_id) % 2])
    }
    assert expected
    assert {batch.header for batch in await stream(store, **asked)} == expected


async def test_hosts_are_found_by_name_and_batches_tell_it(store, tls):
    facts = events.HostFacts(hostname="web-1")
    chain = [sealed_batch(events.EventBatch(events=[an_event(None, host_facts=facts)]))]
    await deliver(store.address, tls.host(), chain, "0" * 32)
    (batch,) = await stream(store, hosts=["web-1"])
    assert batch.hostname == "web-1"
    with pytest.raises(grpc.aio.AioRpcError, match="no host web-2"):
        await stream(store, hosts=["web-2"])


async def test_the_key_of_a_chain_comes_where_the_chain_begins(store, tls):
    signer = Ed25519PrivateKey.generate()
    key = signer.public_key().public_bytes_raw()
    chain = a_chain([body(0), body(0), body(1)], signer=signer)
    await deliver(store.address, tls.host(signing_key=key), chain, "0" * 32)
    found = await stream(store)
    assert found[0].signing_key == key
    assert found[1].signing_key == b""
    assert [batch.signature for batch in found] == [batch.signature for batch in chain]


async def test_a_removed_body_leaves_its_header_and_a_fork_comes_behind_what_it_forks(store, tls):
    first, other = sealed_batch(body(0)), sealed_batch(body(2), sealed_ns=T0)
    await deliver(store.address, tls.host(), [first], "0" * 32)
    await deliver(store.address, tls.host(), [other], "0" * 32)
    found = await stream(store)
    assert [batch.header for batch in found] == [first.header, other.header]
    day = found[0].position.partition("/")[0].replace("batches", "bodies")
    await store.database[day].delete_one({"_id": found[0].batch_id})
    after = await stream(store)
    assert [batch.body for batch in after] == [b"", other.body]
    again = await stream(store, position=after[0].position)
    assert [batch.batch_id for batch in again] == [found[1].batch_id]


@pytest.mark.parametrize(
    "asked",
    [
        {"position": "x"},
        {"position": "system.users/x"},
        {"position": "batches_20260101/$"},
        {"from_batch_id": "nobody/00/1"},
    ],
)
async def test_positions_that_nobody_gave_out_are_refused(store, asked):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream(store, **asked)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
