import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from agent import ship
from agent.ship import STORE, Shipper
from agent.spool import Spool
from chassis.channel import Channel
from tests.agent.receiver import Receiver, assert_gapless
from tests.agent.sealing import append
from tests.builders import HOST


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


@asynccontextmanager
async def shipping(spool, port, tls):
    channel = Channel(f"127.0.0.1:{port}", tls.host(HOST), "store")
    told = []
    shipper = Shipper(STORE, channel, spool, HOST, "0.1.0", told.append)
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
    receiver.window = 4
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
