import asyncio
import random
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from agent import ship
from agent.ship import STORE, Shipper
from agent.spool import Spool
from chassis.channel import Channel
from nightherd.event.v1 import delivery_pb2 as pb
from tests.agent.receiver import Receiver, assert_gapless
from tests.agent.sealing import append
from tests.agent.spools import SMALL
from tests.builders import HOST


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


@asynccontextmanager
async def shipping(spool, port, tls, receiver=STORE, on_directive=None, on_limits=None):
    channel = Channel(f"127.0.0.1:{port}", tls.host(HOST), receiver.name)
    shipper = Shipper(
        receiver,
        channel,
        spool,
        HOST,
        "0.1.0",
        on_directive or (lambda _: None),
        on_limits or (lambda _: None),
    )
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await channel.close()


async def test_batches_arrive_in_order_and_the_cursor_follows(spool, tls):
    receiver = Receiver()
    append(spool, 5)
    async with (
        receiver.serve(tls.identity("store")) as server,
        shipping(spool, server.port, tls) as shipper,
    ):
        await receiver.until(lambda: spool.cursors["store"] == 5)
        append(spool, 3)
        shipper.wake()
        await receiver.until(lambda: spool.cursors["store"] == 8)
    assert_gapless(receiver.batches)
    assert receiver.resent == 0
    assert receiver.hellos[0].host_id == HOST
    assert receiver.hellos[0].chains[0].last == 5


async def test_a_receiver_that_was_down_gets_everything_when_it_comes(spool, tls, free_port):
    append(spool, 4)
    receiver = Receiver()
    async with shipping(spool, free_port, tls) as shipper:
        await asyncio.sleep(0.5)
        assert spool.cursors["store"] == 0
        for _ in range(2):
            async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
                await receiver.until(lambda: spool.cursors["store"] == spool.link.number)
            append(spool, 2)
            shipper.wake()
    assert_gapless(receiver.batches)
    assert receiver.next == 7


async def test_a_receiver_that_lost_its_last_batches_gets_them_again(spool, tls, free_port):
    append(spool, 9)
    receiver = Receiver()
    async with shipping(spool, free_port, tls):
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: spool.cursors["store"] == 9)
        receiver.forget_last(4)
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.next == 10)
    assert_gapless(receiver.batches)


async def test_a_rejection_does_not_stop_what_follows(spool, tls):
    append(spool, 6)
    receiver = Receiver()
    receiver.refuse = {3}
    async with receiver.serve(tls.identity("store")) as server, shipping(spool, server.port, tls):
        await receiver.until(lambda: spool.cursors["store"] == 6)
    assert sorted(receiver.batches) == [1, 2, 4, 5, 6]
    assert len(receiver.hellos) == 1


async def test_no_more_than_the_window_is_under_way(spool, tls):
    append(spool, 20)
    receiver = Receiver()
    receiver.acknowledge = False
    receiver.limits = pb.Limits(window=4)
    async with receiver.serve(tls.identity("store")) as server, shipping(spool, server.port, tls):
        await receiver.until(lambda: len(receiver.batches) == 4)
        await asyncio.sleep(0.3)
        assert len(receiver.batches) == 4
    assert spool.cursors["store"] == 0


async def test_what_the_spool_gave_up_is_told(spool, tls):
    append(spool, 5)
    for number in (1, 2):
        spool._shelf.find(number)[0].forget(number)
    receiver = Receiver()
    async with receiver.serve(tls.identity("store")) as server, shipping(spool, server.port, tls):
        await receiver.until(lambda: spool.cursors["store"] == 5)
    assert [(drop.first, drop.last) for drop in receiver.dropped] == [(1, 2)]
    assert sorted(receiver.batches) == [3, 4, 5]


async def test_a_renewed_certificate_begins_a_new_stream(spool, tls, monkeypatch):
    monkeypatch.setattr(ship, "CERTIFICATE_CHECK_S", 0.05)
    append(spool, 1)
    receiver = Receiver()
    async with (
        receiver.serve(tls.identity("store")) as server,
        shipping(spool, server.port, tls) as shipper,
    ):
        await receiver.until(lambda: spool.cursors["store"] == 1)
        tls.host(HOST)
        append(spool, 1)
        shipper.wake()
        await receiver.until(lambda: len(receiver.hellos) == 2)
        await receiver.until(lambda: spool.cursors["store"] == 2)
    assert_gapless(receiver.batches)


async def test_a_server_of_another_role_gets_nothing(spool, tls):
    append(spool, 1)
    receiver = Receiver()
    async with (
        receiver.serve(tls.identity("modeler")) as server,
        shipping(spool, server.port, tls),
    ):
        await asyncio.sleep(1)
    assert receiver.hellos == []


async def test_no_more_batches_a_second_than_the_receiver_takes(spool, tls):
    append(spool, 30)
    receiver = Receiver()
    receiver.limits = pb.Limits(batches_per_second=10)
    began = time.monotonic()
    async with receiver.serve(tls.identity("store")) as server, shipping(spool, server.port, tls):
        await receiver.until(lambda: spool.cursors["store"] == 30)
    # Ten at once, then ten a second: none can be there before it was sent.
    for count, at in enumerate(receiver.arrived_s, start=1):
        assert count <= 10.5 + 10 * (at - began)


async def test_limits_without_sense_do_not_stop_the_stream(spool, tls):
    append(spool, 12)
    receiver = Receiver()
    receiver.limits = pb.Limits(window=-1, batches_per_second=-5, body_size_bytes=-1)
    async with receiver.serve(tls.identity("store")) as server, shipping(spool, server.port, tls):
        await receiver.until(lambda: spool.cursors["store"] == 12)
    assert_gapless(receiver.batches)


async def test_a_batch_larger_than_is_taken_is_given_up_with_its_count(spool, tls):
    append(spool, 2)
    append(spool, 1, size=4000)
    append(spool, 1)
    sizes = [
        pb.BatchHeader.FromString(spool.read(number).header).body_size_bytes
        for number in range(1, 5)
    ]
    assert sizes[2] > max(sizes[1], sizes[3])
    receiver, said = Receiver(), []
    receiver.limits = pb.Limits(body_size_bytes=sizes[2] - 1)
    async with (
        receiver.serve(tls.identity("store")) as server,
        shipping(spool, server.port, tls, on_limits=said.append),
    ):
        await receiver.until(lambda: spool.cursors["store"] == 4)
    assert [(d.first, d.last, d.event_count) for d in receiver.dropped] == [(3, 3, 1)]
    assert sorted(receiver.batches) == [1, 2, 4]
    assert said == [receiver.limits]


async def test_each_receiver_has_a_cursor_of_its_own_over_restarts(tmp_path, tls):
    spool = Spool(tmp_path / "own")
    append(spool, 5)
    detector = replace(STORE, name="detector")
    receivers = {"store": Receiver(), "detector": Receiver()}
    async with (
        receivers["store"].serve(tls.identity("store")) as server,
        shipping(spool, server.port, tls),
    ):
        await receivers["store"].until(lambda: spool.cursors["store"] == 5)
    assert spool.cursors == {"store": 5, "detector": 0, "modeler": 0}
    spool.close()
    again = Spool(tmp_path / "own")
    append(again, 3)
    async with (
        receivers["store"].serve(tls.identity("store")) as store,
        receivers["detector"].serve(tls.identity("detector")) as other,
        shipping(again, store.port, tls),
        shipping(again, other.port, tls, receiver=detector),
    ):
        await receivers["detector"].until(lambda: again.cursors["detector"] == 8)
        await receivers["store"].until(lambda: again.cursors["store"] == 8)
    again.close()
    for receiver in receivers.values():
        assert_gapless(receiver.batches)
        assert receiver.resent == 0


async def test_a_receiver_far_behind_is_told_what_went_with_the_count(tmp_path, tls):
    spool = Spool(tmp_path / "small", quota_bytes=20_000, segment_bytes=SMALL)
    while spool.first < 20:
        append(spool, 1)
    spool.close()
    again = Spool(tmp_path / "small", quota_bytes=20_000, segment_bytes=SMALL)
    first, last = again.first, again.link.number
    receiver = Receiver()
    async with receiver.serve(tls.identity("store")) as server, shipping(again, server.port, tls):
        await receiver.until(lambda: again.cursors["store"] == last)
    again.close()
    assert sum(drop.event_count for drop in receiver.dropped) == first - 1
    assert receiver.dropped[0].first == 1
    assert receiver.dropped[-1].last == first - 1
    assert sorted(receiver.batches) == list(range(first, last + 1))


async def test_damage_is_told_to_a_receiver_and_the_rest_arrives(spool, tls):
    append(spool, 5)
    segment = next(spool._folder.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    receiver = Receiver()
    async with receiver.serve(tls.identity("store")) as server, shipping(spool, server.port, tls):
        await receiver.until(lambda: spool.cursors["store"] == 5)
    assert [(d.first, d.last, d.event_count) for d in receiver.dropped] == [(3, 3, 0)]
    assert sorted(receiver.batches) == [1, 2, 4, 5]


async def test_a_receiver_that_ends_every_stream_is_asked_ever_less_often(
    spool, tls, free_port, monkeypatch
):
    monkeypatch.setattr(ship, "FIRST_PAUSE_S", 0.1)
    asked, drawn, draw = [], [], random.uniform
    monkeypatch.setattr(ship.random, "uniform", lambda *span: drawn.append(span) or draw(*span))

    async def refuse(_, writer):
        asked.append(asyncio.get_running_loop().time())
        writer.close()

    async with (
        await asyncio.start_server(refuse, "127.0.0.1", free_port),
        shipping(spool, free_port, tls),
        asyncio.timeout(60),
    ):
        while len(asked) < 6:
            await asyncio.sleep(0.02)
    # A pause is drawn from half to all of twice the last; a busy machine only makes it longer.
    for times, (before, after) in enumerate(pairwise(asked)):
        assert after - before >= 0.05 * 2**times
    assert drawn == [(0.5, 1.0)] * len(drawn)
