"""Batches are kept as they came, once, whatever the stream does."""

import asyncio

import grpc
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio

from chassis import clock
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from services.store.repository.bodies import PLAIN_BYTES, frame_of
from tests.builders import CHAIN, HOST, T0, a_body, a_chain, an_event, an_image, sealed_batch
from tests.services_client import Deliverer, deliver

DAY_NS = 86_400 * clock.NS


async def stored(store):
    """(host, chain, number, header) of every stored batch."""
    rows = []
    for name in await store.database.list_collection_names():
        if name.startswith("batches_"):
            rows += [r async for r in store.database[name].find()]
    return sorted(rows, key=lambda r: r["_id"])


async def bodies(store):
    """id -> body, of every stored body."""
    kept = {}
    for name in await store.database.list_collection_names():
        if name.startswith("bodies_"):
            kept |= {r["_id"]: r async for r in store.database[name].find()}
    return kept


def opened(frame):
    return zstandard.ZstdDecompressor().decompress(frame)


async def host_of(store, host_id=HOST):
    answer = await store.stub.ListHosts(api.ListHostsRequest(hosts=[host_id]))
    return answer.hosts[0]


async def custody(store, host_id=HOST):
    return await store.stub.VerifyCustody(api.VerifyCustodyRequest(host_id=host_id))


async def test_batches_lie_there_byte_for_byte_and_custody_holds(store, tls):
    key = Ed25519PrivateKey.generate()
    host = tls.host(signing_key=key.public_key().public_bytes_raw())
    chain = a_chain([None] * 20, signer=key)
    async with Deliverer(store.address, host, HOST) as stream:
        welcome = await stream.hello([CHAIN])
        assert [(w.chain_id, w.next) for w in welcome.wanted] == [(CHAIN, 1)]
        settled = await stream.send(chain)
        assert settled == list(range(1, 21))
    rows = await stored(store)
    kept = await bodies(store)
    assert [(r["k"], r["g"], opened(frame_of(kept[r["_id"]]))) for r in rows] == [
        (b.header, b.signature, opened(b.body)) for b in chain
    ]
    report = await custody(store)
    assert report.intact
    assert (report.chains[0].batch_count, report.chains[0].signed_count) == (20, 20)


async def test_large_bodies_lie_as_they_came_and_small_ones_plain(store, tls):
    many = [(an_image(f"/usr/bin/p{n}", pid=n), an_event()) for n in range(1, 60)]
    large, small = sealed_batch(a_body(*many)), sealed_batch(None, 2)
    assert len(opened(large.body)) > PLAIN_BYTES > len(opened(small.body))
    await deliver(store.address, tls.host(), [large, small], HOST)
    first, second = sorted((await bodies(store)).values(), key=lambda row: row["_id"])
    assert first == {"_id": first["_id"], "b": large.body}
    assert second == {"_id": second["_id"], "p": opened(small.body)}


async def test_a_resend_is_acknowledged_and_changes_nothing(store, tls):
    chain = a_chain([None] * 5)
    await deliver(store.address, tls.host(), chain, HOST)
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        assert (await stream.hello([CHAIN])).wanted[0].next == 6
        assert len(await stream.send(chain)) == 5
    assert len(await stored(store)) == 5
    assert (await host_of(store)).event_count == 5


async def test_a_resend_over_midnight_makes_no_duplicate(store, tls):
    before = sealed_batch(sealed_ns=T0)
    after = sealed_batch(a_body(), 2, before, sealed_ns=T0 + DAY_NS)
    for _ in range(2):
        await deliver(store.address, tls.host(), [before, after], HOST)
    assert len(await stored(store)) == 2
    assert (await custody(store)).intact


async def test_a_fork_is_kept_flagged_and_found(store, tls):
    chain = a_chain([None] * 3)
    other = sealed_batch(a_body((an_image(pid=99), an_event())), 3, chain[1])
    await deliver(store.address, tls.host(), chain, HOST)
    await deliver(store.address, tls.host(), [other, other], HOST)
    assert len(await stored(store)) == 4
    assert list((await host_of(store)).chains[0].flags) == ["fork", "unsigned"]
    alerts = await store.stub.ListAlerts(api.ListAlertsRequest())
    assert [(a.finding.alert.attack_type, a.count) for a in alerts.alerts] == [("chainFork", 1)]
    report = await custody(store)
    assert not report.intact
    assert [f.kind for f in report.chains[0].faults] == ["fork"]


async def test_a_broken_link_is_kept_flagged_and_reported(store, tls):
    chain = a_chain([None] * 2)
    torn = sealed_batch(None, 3, None, previous_hash=b"\1" * 32)
    await deliver(store.address, tls.host(), [*chain, torn], HOST)
    assert len(await stored(store)) == 3
    assert "broken link" in (await host_of(store)).chains[0].flags
    assert [f.kind for f in (await custody(store)).chains[0].faults] == ["broken link"]


async def test_a_deleted_spool_is_a_second_chain_and_nothing_is_lost(store, tls):
    await deliver(store.address, tls.host(), a_chain([None] * 3), HOST)
    await deliver(store.address, tls.host(), a_chain([None] * 2, chain_id=b"2" * 16), HOST)
    host = await host_of(store)
    assert sorted((c.first, c.last) for c in host.chains) == [(1, 2), (1, 3)]
    assert host.event_count == 5
    assert (await custody(store)).intact


async def test_missing_numbers_are_flagged_and_reported(store, tls):
    chain = a_chain([None] * 5)
    await deliver(store.address, tls.host(), [*chain[:2], *chain[4:]], HOST)
    assert "missing" in (await host_of(store)).chains[0].flags
    faults = (await custody(store)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(3, "missing")]


@pytest.mark.parametrize(
    ("bent", "reason"),
    [
        ({"host_id": "f" * 32}, "REASON_FOREIGN_HOST"),
        ({"herd": "other"}, "REASON_FOREIGN_HERD"),
        ({"body_hash": bytes(32)}, "REASON_BAD_HASH"),
        ({"body_size_bytes": 100 << 20}, "REASON_OVERSIZE"),
    ],
)
async def test_a_refused_batch_is_set_aside_and_the_stream_goes_on(store, tls, bent, reason):
    good = sealed_batch(None, 1)
    bad = sealed_batch(None, 2, good, **bent)
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        await stream.hello([CHAIN])
        await stream.send([good, bad, sealed_batch(None, 3, good)])
    assert [pb.Rejection.Reason.Name(r.reason) for r in stream.rejections] == [reason]
    assert stream.rejections[0].detail
    assert [r["n"] for r in await stored(store)] == [1, 3]
    assert (await host_of(store)).rejected_count == 1
    kept = await store.database["aside"].find_one()
    assert kept["batch"] == bad.SerializeToString()


async def test_garbage_is_refused_and_disturbs_nobody(store, tls):
    async with Deliverer(store.address, tls.host(), HOST) as good:
        await good.hello([CHAIN])
        async with Deliverer(store.address, tls.host(), HOST) as bad:
            await bad.write(pb.AgentMessage(batch=pb.SealedBatch(header=b"x")))
            with pytest.raises(aio.AioRpcError) as refused:
                await bad._read()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "Hello" in refused.value.details()
        async with Deliverer(store.address, tls.host(), HOST) as old:
            with pytest.raises(aio.AioRpcError) as refused:
                await old.hello([CHAIN], version=99)
            assert "protocol version 99" in refused.value.details()
        assert len(await good.send(a_chain([None]))) == 1


async def test_an_agents_certificate_cannot_read(store, tls):
    from chassis.channel import Channel
    from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub

    channel = Channel(store.address, tls.host(), "store")
    with pytest.raises(aio.AioRpcError) as refused:
        await StoreServiceStub(channel.get()).ListHosts(api.ListHostsRequest())
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await channel.close()


async def test_a_clock_two_days_back_is_kept_and_shown(store, tls):
    now = clock.wall_ns()
    body = a_body((an_image(), an_event(time_ns=now - 2 * DAY_NS)))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    host = await host_of(store)
    assert abs(host.clock_skew_ms + 2 * 86_400_000) < 60_000
    assert host.batch_count == 1
    absurd = sealed_batch(None, 2, sealed_batch(body), sealed_ns=400 * 365 * DAY_NS)
    await deliver(store.address, tls.host(), [absurd], HOST)
    assert "batches_undated" in await store.database.list_collection_names()


async def test_facts_status_and_gaps_are_read_the_latest_stands(store, tls):
    def told(time_ns, name):
        return a_body(
            (an_image(), an_event(time_ns=time_ns, host_facts=events.HostFacts(hostname=name))),
            (
                an_image(),
                an_event(
                    time_ns=time_ns,
                    gap=events.Gap(
                        cause=events.Gap.CAUSE_KERNEL_DROP,
                        lost=5,
                        start_time=clock.to_timestamp(time_ns),
                        end_time=clock.to_timestamp(time_ns),
                    ),
                ),
            ),
        )

    late, early = sealed_batch(told(T0 + 5, "late")), sealed_batch(told(T0, "early"), 2)
    await deliver(store.address, tls.host(), [late, early, late], HOST)
    host = await host_of(store)
    assert (host.facts.hostname, host.gap_count) == ("late", 2)
    gaps = await store.stub.ListGaps(api.ListGapsRequest(hosts=["late"]))
    assert [(g.gap.lost, g.hostname) for g in gaps.gaps] == [(5, "late")] * 2


async def test_dropped_batches_are_a_gap_and_settle(store, tls):
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        await stream.hello([CHAIN])
        dropped = pb.Dropped(chain_id=CHAIN, first=1, last=7, event_count=99)
        await stream.write(pb.AgentMessage(dropped=dropped))
        assert (await stream._read()).receipt.settled_through == 7
    gaps = (await store.stub.ListGaps(api.ListGapsRequest())).gaps
    assert [(g.gap.lost, g.gap.source) for g in gaps] == [(99, "spool")]


async def test_many_streams_share_inserts_and_lose_nothing(store, tls):
    hosts = [f"{n:032x}" for n in range(12)]

    async def one(host_id):
        await deliver(
            store.address, tls.host(host_id), a_chain([None] * 15, host_id=host_id), host_id
        )

    await asyncio.gather(*map(one, hosts))
    assert len(await stored(store)) == 12 * 15
    reports = await asyncio.gather(*(custody(store, h) for h in hosts))
    assert all(r.intact for r in reports)


async def test_events_come_back_as_they_were(store, tls):
    body = a_body((an_image(arguments=[b"/bin/x", b"\xff"]), an_event()))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    call = store.stub.StreamEvents(api.StreamEventsRequest(host_id=HOST))
    assert [part.body async for part in call] == [body]


async def test_an_unknown_host_has_no_custody(store):
    with pytest.raises(aio.AioRpcError) as refused:
        await custody(store, "nobody")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
