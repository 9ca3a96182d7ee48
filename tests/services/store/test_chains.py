"""What chains remember: over days, over replicas, over what was given up."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import clock
from chassis.tls import Peer
from delivery.checks import Limits, check
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from services.store.__main__ import serve
from services.store.domain.chain import Memory
from services.store.domain.custody import ChainCheck, Stored
from services.store.settings import Settings
from tests.builders import CHAIN, HOST, T0, a_body, a_chain, an_event, an_image, sealed_batch
from tests.ports import free_port
from tests.services_client import Deliverer, deliver, until_serving

DAY_NS = 86_400 * clock.NS
PEER = Peer("host", HOST, "default")


async def host_of(store, host_id=HOST):
    return (await store.stub.ListHosts(api.ListHostsRequest(hosts=[host_id]))).hosts[0]


async def custody(store):
    return await store.stub.VerifyCustody(api.VerifyCustodyRequest(host_id=HOST))


async def test_a_fork_sealed_on_another_day_is_found_too(store, tls):
    chain = a_chain([None] * 3)
    rolled_back = sealed_batch(
        a_body((an_image(pid=99), an_event())), 2, chain[0], sealed_ns=T0 + 9 * DAY_NS
    )
    await deliver(store.address, tls.host(), chain, HOST)
    await deliver(store.address, tls.host(), [rolled_back, rolled_back], HOST)
    assert "fork" in (await host_of(store)).chains[0].flags
    (alert,) = (await store.stub.ListAlerts(api.ListAlertsRequest())).alerts
    assert (alert.finding.alert.attack_type, alert.count) == ("chainFork", 1)
    faults = (await custody(store)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(2, "fork")]
    day = clock.rfc3339(T0 + 9 * DAY_NS)[:10].replace("-", "")
    kept = [row async for row in store.database[f"batches_{day}"].find()]
    assert [row["k"] for row in kept] == [rolled_back.header]


async def test_an_old_batch_that_memory_forgot_is_still_acknowledged_once(store, tls):
    chain = a_chain([None] * 200)
    await deliver(store.address, tls.host(), chain, HOST)
    await deliver(store.address, tls.host(), chain[:3], HOST)
    host = await host_of(store)
    assert (host.batch_count, list(host.chains[0].flags)) == (200, ["unsigned"])
    assert (await custody(store)).intact


async def test_two_replicas_that_take_turns_see_no_hole(store, tls, mongo_url):
    settings = Settings(
        listen=f"127.0.0.1:{free_port()}",
        tls_dir=tls.folder("store"),
        NIGHTHERD_MONGO_URL=mongo_url,
        database=store.database.name,
        drain_seconds=0.2,
    )
    second = asyncio.create_task(serve(settings))
    from chassis.channel import Channel

    channel = Channel(settings.listen, tls.identity("gateway"), "store")
    await until_serving(channel.get())
    chain = a_chain([None] * 30)
    for turn in range(6):
        address = (store.address, settings.listen)[turn % 2]
        async with Deliverer(address, tls.host(), HOST) as stream:
            assert (await stream.hello([CHAIN])).wanted[0].next == turn * 5 + 1
            await stream.send(chain[turn * 5 : turn * 5 + 5])
    host = await host_of(store)
    assert (host.batch_count, list(host.chains[0].flags)) == (30, ["unsigned"])
    assert (await custody(store)).intact
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    await channel.close()


async def test_the_same_chain_through_two_streams_at_once_is_stored_once(store, tls):
    chain = a_chain([None] * 60)
    await asyncio.gather(*(deliver(store.address, tls.host(), chain, HOST) for _ in range(4)))
    host = await host_of(store)
    assert (host.batch_count, host.event_count) == (60, 60)
    assert (await custody(store)).intact


async def test_a_chain_that_does_not_begin_at_its_beginning_lacks_something(store, tls):
    chain = a_chain([None] * 4)
    await deliver(store.address, tls.host(), chain[2:], HOST)
    assert "missing" in (await host_of(store)).chains[0].flags
    faults = (await custody(store)).chains[0].faults
    assert [(f.batch_number, f.kind) for f in faults] == [(1, "missing")]


async def test_given_up_batches_that_are_here_are_no_gap(store, tls):
    chain = a_chain([None] * 4)
    await deliver(store.address, tls.host(), chain, HOST)
    async with Deliverer(store.address, tls.host(), HOST) as stream:
        await stream.hello([CHAIN])
        for first, last, count in ((1, 4, 4), (3, 6, 4), (7, 9, 12)):
            dropped = pb.Dropped(chain_id=CHAIN, first=first, last=last, event_count=count)
            await stream.write(pb.AgentMessage(dropped=dropped))
            assert (await stream._read()).receipt.settled_through == last
    gaps = (await store.stub.ListGaps(api.ListGapsRequest())).gaps
    found = sorted((g.gap.detail, g.gap.precision, g.gap.lost) for g in gaps)
    assert found == [
        ("batches 5 to 6 were given up unsent", events.Gap.PRECISION_UNKNOWN, 0),
        ("batches 7 to 9 were given up unsent", events.Gap.PRECISION_EXACT, 12),
    ]
    assert all(clock.from_timestamp(g.gap.start_time) == T0 for g in gaps)


async def test_custody_of_a_span_is_whole_though_the_clock_was_set_back_within(store, tls):
    sealed_ns = [T0 + n * DAY_NS for n in (0, 1, 9, 2, 3, 4)]
    chain = []
    for number, when in enumerate(sealed_ns, start=1):
        chain.append(sealed_batch(None, number, chain[-1] if chain else None, sealed_ns=when))
    await deliver(store.address, tls.host(), chain, HOST)
    report = await store.stub.VerifyCustody(
        api.VerifyCustodyRequest(
            host_id=HOST,
            from_time=clock.to_timestamp(T0 + DAY_NS),
            to_time=clock.to_timestamp(T0 + 3 * DAY_NS),
        )
    )
    assert report.intact
    assert [(c.first, c.last, c.batch_count) for c in report.chains] == [(2, 5, 4)]


async def test_an_index_that_hides_a_gap_does_not_hide_it(store, tls):
    gap = events.Gap(cause=events.Gap.CAUSE_KERNEL_DROP, lost=3)
    batch = sealed_batch(a_body((an_image(), an_event(gap=gap))))
    batch.index.Clear()
    await deliver(store.address, tls.host(), [batch], HOST)
    gaps = (await store.stub.ListGaps(api.ListGapsRequest(hosts=[HOST]))).gaps
    assert [g.gap for g in gaps] == [gap]


async def test_an_importers_host_is_kept_as_imported_and_its_clock_means_nothing(store, tls):
    batch = sealed_batch(None, host_id="import-1", origin=pb.ORIGIN_IMPORTED)
    await deliver(store.address, tls.identity("importer"), [batch], "import-1")
    host = await host_of(store, "import-1")
    assert (host.origin, host.clock_skew_ms, host.batch_count) == (pb.ORIGIN_IMPORTED, 0, 1)


async def test_events_are_cut_to_the_span_that_is_asked_for(store, tls):
    bodies = [a_body((an_image(), an_event(time_ns=T0 + n * DAY_NS))) for n in range(5)]
    await deliver(store.address, tls.host(), a_chain(bodies), HOST)
    request = api.StreamEventsRequest(
        host_id=HOST,
        from_time=clock.to_timestamp(T0 + DAY_NS),
        to_time=clock.to_timestamp(T0 + 3 * DAY_NS),
    )
    parts = [part async for part in store.stub.StreamEvents(request)]
    assert [part.body for part in parts] == bodies[1:4]
    headers = [pb.BatchHeader.FromString(part.header).batch_number for part in parts]
    assert headers == [2, 3, 4]


def stored_chain(length):
    return [
        Stored(n, b.header, b.signature, b.body, fork=False)
        for n, b in enumerate(a_chain([None] * length), start=1)
    ]


@given(st.integers(1, 8), st.data())
def test_custody_finds_any_single_change(length, data):
    chain = stored_chain(length)
    place = data.draw(st.integers(0, length - 1))
    what = data.draw(st.sampled_from(["header", "body"]))
    old = chain[place]
    raw = bytearray(getattr(old, what))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    parts = {"header": old.header, "body": old.body, what: bytes(raw)}
    chain[place] = Stored(old.number, parts["header"], b"", parts["body"], fork=False)
    walk = ChainCheck(signing_key=None)
    for batch in chain:
        walk.see(batch)
    # The last header is held by nothing behind it: that is what signatures are for.
    assert walk.faults or (what == "header" and place == length - 1) or unharmed(old, parts["body"])


def unharmed(old, body):
    """Some bits of a zstd frame mean nothing: the content is what was hashed."""
    from delivery.frames import open_frame

    size = pb.BatchHeader.FromString(old.header).body_size_bytes
    try:
        return open_frame(body, size) == open_frame(old.body, size)
    except ValueError:
        return False


@given(st.lists(st.integers(0, 9), max_size=30))
def test_memory_flags_neither_resends_nor_order(resends):
    chain = [check(b, PEER, Limits()) for b in CHAIN_OF_TEN]
    memory = Memory({}, 0)
    odd = set()
    seen = 0
    for number in [*resends, *range(10)]:
        # An agent never skips: it sends what came before, or the next.
        number = min(number, seen)  # noqa: PLW2901
        if number < 10:
            odd |= memory.oddities(chain[number])
            memory.note(chain[number])
            seen = max(seen, number + 1)
    assert odd == set()


CHAIN_OF_TEN = a_chain([None] * 10)


@pytest.mark.parametrize("number", [2, 5])
def test_memory_knows_a_broken_link_and_a_hole(number):
    memory = Memory({}, 0)
    memory.note(check(CHAIN_OF_TEN[0], PEER, Limits()))
    torn = check(sealed_batch(None, number, previous_hash=b"\1" * 32), PEER, Limits())
    assert memory.oddities(torn) == ({"broken link"} if number == 2 else {"missing"})
