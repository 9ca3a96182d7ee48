"""What is asked of agents: told in the Welcome, merged, withdrawn, refused when it makes no sense."""

import grpc
import pytest

from chassis import clock
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.directives import Directives
from tests.builders import CHAIN, HOST, sealed_batch
from tests.services_client import Deliverer, deliver


def record(*paths, level=events.LEVEL_UNSPECIFIED, **whom):
    directive = delivery.Directive(watch_paths=paths, level=level)
    return pb.DirectiveRecord(directive=directive, entered_by="ann", **whom)


async def ask(store, *paths, **how):
    await store.stub.SetDirective(pb.SetDirectiveRequest(record=record(*paths, **how)))


async def asked(store, tls, host=HOST):
    async with Deliverer(store.address, tls.host(), host) as stream:
        return (await stream.hello([CHAIN])).directive


@pytest.fixture
async def known(store, tls):
    await deliver(store.address, tls.host(), [sealed_batch(None)], HOST)


@pytest.mark.usefixtures("known")
async def test_a_host_is_asked_for_its_herds_paths_and_its_own_and_its_own_level_goes_first(
    store, tls
):
    before = clock.wall_ns()
    await ask(store, b"/srv", b"/opt/a", level=events.LEVEL_AUDIT, herd="default")
    await ask(store, b"/opt/a", b"/opt/\xff", level=events.LEVEL_POLL, host_id=HOST)
    told = await asked(store, tls)
    assert list(told.watch_paths) == [b"/srv", b"/opt/a", b"/opt/\xff"]
    assert told.level == events.LEVEL_POLL
    host, herd = sorted(
        (await store.stub.ListDirectives(pb.ListDirectivesRequest())).records,
        key=lambda one: one.herd,
    )
    assert (host.host_id, herd.herd, host.entered_by) == (HOST, "default", "ann")
    assert before - clock.NS < clock.from_timestamp(host.entered_time) < clock.wall_ns() + clock.NS


@pytest.mark.usefixtures("known")
async def test_nothing_asked_takes_back_what_was(store, tls):
    await ask(store, b"/srv", host_id=HOST)
    await ask(store, host_id=HOST)
    told = await asked(store, tls)
    assert told == delivery.Directive()
    assert (await store.stub.ListDirectives(pb.ListDirectivesRequest())).records == []


async def test_another_replica_tells_it_within_seconds(store):
    other = Directives(store.database)
    assert await other.of(HOST, "default") == delivery.Directive()
    await ask(store, b"/srv", herd="default")
    other._read_s = 0  # as if FRESH_S had gone by
    assert list((await other.of(HOST, "default")).watch_paths) == [b"/srv"]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (record(b"/srv"), "a host or a herd"),
        (record(b"/srv", herd=""), "a host or a herd"),
        (record(b"/srv", herd="x" * 300), "a host or a herd"),
        (record(b"srv", herd="default"), "absolute"),
        (record(b"/s\0rv", herd="default"), "absolute"),
        (record(b"/" + b"x" * 4096, herd="default"), "absolute"),
        (record(*[b"/%d" % n for n in range(201)], herd="default"), "at most 200"),
    ],
)
async def test_what_no_agent_could_do_is_refused(store, wrong, why):
    with pytest.raises(grpc.aio.AioRpcError, match=why) as error:
        await store.stub.SetDirective(pb.SetDirectiveRequest(record=wrong))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_nobody_is_asked_who_is_not_there(store):
    with pytest.raises(grpc.aio.AioRpcError, match="no host") as error:
        await ask(store, b"/srv", host_id="f" * 32)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_more_than_can_be_told_in_one_answer_is_refused(store):
    paths = [b"/%03d/" % number + b"x" * 4000 for number in range(200)]
    for herd in range(5):
        await ask(store, *paths, herd=f"herd-{herd}")
    with pytest.raises(grpc.aio.AioRpcError, match="too much") as error:
        await ask(store, *paths, herd="one-more")
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    await ask(store, *paths[:100], herd="herd-0")  # less than before
    assert len((await store.stub.ListDirectives(pb.ListDirectivesRequest())).records) == 5
