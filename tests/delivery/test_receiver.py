"""The stream loop: receipts in order, refusals that settle, failures that lose nothing."""

import asyncio

import pytest

from chassis.errors import UnavailableError
from chassis.tls import Peer
from delivery.checks import Limits
from delivery.receiver import ForeignHelloError, Paces, ProtocolError, StoppingError, receive
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests.builders import CHAIN, HOST, a_chain, sealed_batch

PEER = Peer("host", HOST, "default")


class Notes:
    """A handler that notes what it was told, in the order in which it finished."""

    def __init__(self, wanted=1, fail_at=None, release=None):
        self.wanted, self.fail_at, self.release = wanted, fail_at, release
        self.asked = None
        self.done, self.under_way, self.most = [], 0, 0

    async def welcome(self, session):
        return {chain.chain_id: self.wanted for chain in session.hello.chains}

    async def take(self, session, checked):
        number = checked.header.batch_number
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            # Later batches finish first, to show that receipts do not follow completion.
            await asyncio.sleep(0.002 * (8 - number % 8))
            if self.release is not None:
                await self.release.wait()
            if number == self.fail_at:
                raise UnavailableError("the disk is away")
            self.done.append(number)
        finally:
            self.under_way -= 1

    async def reject(self, session, batch, why):
        self.done.append(("rejected", why.header.batch_number))

    async def drop(self, session, dropped):
        self.done.append(("dropped", dropped.first, dropped.last))

    async def alive(self, session):
        return self.asked


def hello(host_id=HOST, version=1, chains=(CHAIN,)):
    return pb.AgentMessage(
        hello=pb.Hello(
            protocol_version=version,
            host_id=host_id,
            chains=[pb.Hello.ChainHead(chain_id=c) for c in chains],
        )
    )


def batches(*sealed):
    return [pb.AgentMessage(batch=b) for b in sealed]


async def talk(handler, *messages, peer=PEER, limits=None, heard=None):
    async def say():
        for message in messages:
            yield message

    heard = [] if heard is None else heard
    async for said in receive(say(), peer, handler, limits or Limits()):
        heard.append(said)
    return heard


def receipts(heard):
    """Numbers of the receipts, ever higher; one may stand for several batches."""
    numbers = [m.receipt.settled_through for m in heard if m.HasField("receipt")]
    assert numbers == sorted(set(numbers))
    return numbers


async def test_receipts_come_in_order_and_never_more_than_the_window_is_under_way():
    handler = Notes()
    heard = await talk(handler, hello(), *batches(*a_chain([None] * 40)), limits=Limits(window=5))
    assert receipts(heard)[-1] == 40
    assert handler.most == 5
    assert handler.done != sorted(handler.done)


async def test_a_refused_batch_settles_in_its_place_after_all_before_it():
    chain = a_chain([None] * 6)
    chain[3] = sealed_batch(None, 4, chain[2], body_hash=bytes(32))
    handler = Notes()
    heard = await talk(handler, hello(), *batches(*chain))
    assert {4, 6} <= set(receipts(heard)) <= {1, 2, 3, 4, 5, 6}
    place = handler.done.index(("rejected", 4))
    assert sorted(handler.done[:place]) == [1, 2, 3]
    assert [m.rejection.batch_number for m in heard if m.HasField("rejection")] == [4]


@pytest.mark.parametrize("header", [b"\xff\xff\xff", b"", b"\x0a\x01x"])
async def test_a_batch_that_cannot_say_its_number_settles_as_the_next_one(header):
    good = sealed_batch(None, 6)
    broken = pb.SealedBatch(header=header, body=good.body)
    heard = await talk(Notes(wanted=5), hello(), *batches(broken, good))
    assert receipts(heard) == [5, 6]
    rejection = next(m.rejection for m in heard if m.HasField("rejection"))
    assert (rejection.chain_id, rejection.reason) == (CHAIN, pb.Rejection.REASON_MALFORMED)


async def test_a_failure_ends_the_stream_and_nothing_from_there_on_is_acknowledged():
    handler, heard = Notes(fail_at=4), []
    with pytest.raises(UnavailableError):
        await talk(handler, hello(), *batches(*a_chain([None] * 9)), heard=heard)
    assert receipts(heard)[-1] == 3
    assert handler.under_way == 0


async def test_dropped_batches_settle_their_range_in_order():
    dropped = pb.AgentMessage(dropped=pb.Dropped(chain_id=CHAIN, first=3, last=9, event_count=7))
    chain = a_chain([None] * 2)
    handler = Notes()
    heard = await talk(
        handler, hello(), *batches(*chain), dropped, *batches(sealed_batch(None, 10))
    )
    assert receipts(heard)[-1] == 10
    assert handler.done.index(("dropped", 3, 9)) == 2


@pytest.mark.parametrize(
    "messages",
    [
        [],
        batches(sealed_batch()),
        [hello(version=0)],
        [hello(version=2)],
        [hello(chains=[b"short"])],
        [hello(chains=[bytes([n]) * 16 for n in range(70)])],
        [hello(), hello()],
        [hello(), pb.AgentMessage()],
        [hello(), pb.AgentMessage(dropped=pb.Dropped(chain_id=CHAIN, first=5, last=3))],
        [hello(), pb.AgentMessage(dropped=pb.Dropped(chain_id=CHAIN, first=1, last=1 << 60))],
        [hello(), pb.AgentMessage(dropped=pb.Dropped(chain_id=b"x", first=1, last=1))],
    ],
)
async def test_what_does_not_follow_the_protocol_is_refused_in_words(messages):
    with pytest.raises(ProtocolError) as refused:
        await talk(Notes(), *messages)
    assert str(refused.value)


async def test_a_hello_for_another_host_is_refused():
    with pytest.raises(ForeignHelloError):
        await talk(Notes(), hello(host_id="f" * 32))
    importer = Peer("importer", "", "")
    assert await talk(Notes(), hello(host_id="f" * 32), peer=importer)
    for odd in ("a/b", "$x", "", "x" * 200, "a\0b"):
        with pytest.raises(ProtocolError):
            await talk(Notes(), hello(host_id=odd), peer=importer)


async def test_a_stream_that_breaks_leaves_nothing_running():
    release = asyncio.Event()
    handler = Notes(release=release)
    task = asyncio.create_task(talk(handler, hello(), *batches(*a_chain([None] * 20))))
    async with asyncio.timeout(60):
        while handler.under_way < 8:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (handler.under_way, handler.done) == (0, [])


async def test_streams_of_one_host_share_its_pace():
    paces = Paces(100)
    first = paces.of(HOST)
    assert paces.of(HOST) is first
    assert paces.of("other") is not first
    for _ in range(100):
        await first.wait()
    begun = asyncio.get_running_loop().time()
    await paces.of(HOST).wait()
    assert asyncio.get_running_loop().time() > begun


async def test_a_server_that_stops_settles_what_it_read_and_ends_the_stream():
    stopping, heard, handler = asyncio.Event(), [], Notes()

    async def say():
        yield hello()
        for message in batches(*a_chain([None] * 4)):
            yield message
        stopping.set()
        await asyncio.Event().wait()  # an agent's stream never ends by itself

    async def talk_until_stopped():
        async for said in receive(say(), PEER, handler, Limits(), stopping=stopping):
            heard.append(said)

    with pytest.raises(StoppingError):
        await asyncio.wait_for(talk_until_stopped(), 60)
    assert receipts(heard)[-1] == 4
    assert sorted(handler.done) == [1, 2, 3, 4]


async def test_what_is_settled_at_once_is_told_in_one_receipt():
    release = asyncio.Event()
    handler = Notes(release=release)

    async def say():
        yield hello()
        for message in batches(*a_chain([None] * 5)):
            yield message
        while handler.under_way < 5:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # all of them wait for nothing but this
        release.set()

    heard = [said async for said in receive(say(), PEER, handler, Limits())]
    assert receipts(heard) == [5]


async def test_what_is_asked_stands_in_the_welcome_and_is_said_again_when_it_changes():
    handler, heard = Notes(), []
    handler.asked = pb.Directive(watch_paths=[b"/srv"])
    later = pb.Directive(level=events.LEVEL_POLL)

    async def say():
        yield hello()
        while not heard:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)  # several beats in which nothing changes
        handler.asked = later
        while not any(said.HasField("directive") for said in heard):
            await asyncio.sleep(0.005)
        for message in batches(*a_chain([None] * 2)):
            yield message

    async for said in receive(say(), PEER, handler, Limits(window=1), alive_s=0.02):
        heard.append(said)
    assert list(heard[0].welcome.directive.watch_paths) == [b"/srv"]
    assert [said.directive for said in heard if said.HasField("directive")] == [later]
    assert receipts(heard)[-1] == 2


async def test_who_asks_nothing_leaves_what_another_asks():
    heard = await talk(Notes(), hello())
    assert not heard[0].welcome.HasField("directive")
