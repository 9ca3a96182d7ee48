"""One timeline and the process tree, from the real store."""

import grpc
import pytest

from chassis import clock
from nightherd.detector.v1 import finding_pb2 as findings
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from tests.builders import (
    CHAIN,
    HOST,
    T0,
    a_body,
    an_ancestor,
    an_event,
    an_image,
    below,
    changes,
    exec_id,
    sealed_batch,
)
from tests.services_client import deliver

SECOND = clock.NS


def a_gap(second):
    gap = events.Gap(
        cause=events.Gap.CAUSE_OVERFLOW,
        start_time=clock.to_timestamp(T0 + second * SECOND),
        end_time=clock.to_timestamp(T0 + (second + 1) * SECOND),
    )
    return an_event(None, T0 + second * SECOND, gap=gap)


def a_finding(number, second, **kind):
    return findings.Finding(
        occurrence_id=f"{number:064x}",
        host_id=HOST,
        herd="default",
        chain_id=CHAIN,
        batch_number=1,
        event_time=clock.to_timestamp(T0 + second * SECOND),
        **kind,
    )


@pytest.fixture
async def told(store, tls):
    """Events at 0..9 s, a gap at 4 s, activities at 2 and 6 s, an alert (so an incident) at 6 s."""
    image = an_image()
    body = a_body(*((image, an_event(time_ns=T0 + n * SECOND)) for n in range(10)))
    body.events.append(a_gap(4))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    from chassis.channel import open_channel

    channel = open_channel(store.address, tls.identity("detector").channel_credentials(), "store")
    some = [
        a_finding(1, 2, activity=findings.Activity(activity_id="a1", type=11)),
        a_finding(2, 6, activity=findings.Activity(activity_id="a2", type=13)),
        a_finding(3, 6, alert=findings.Alert(alert_key="b1", message="x")),
    ]
    await StoreServiceStub(channel).RecordFindings(pb.RecordFindingsRequest(findings=some))
    await channel.close()
    return store


async def whole(stub, limit, *, ascending=False, **asked):
    found, cursor = [], ""
    while True:
        answer = await stub.GetTimeline(
            pb.GetTimelineRequest(limit=limit, cursor=cursor, ascending=ascending, **asked)
        )
        found += [
            ((clock.from_timestamp(e.time) - T0) // SECOND, e.WhichOneof("item"))
            for e in answer.entries
        ]
        cursor = answer.next_cursor
        if not cursor:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize("ascending", [False, True])
async def test_everything_comes_once_in_one_order(told, limit, ascending):
    found = await whole(told.stub, limit, ascending=ascending)
    right = [(n, "event") for n in range(10)]
    right += [(4, "gap"), (2, "activity"), (6, "activity"), (6, "alert")]
    right += 2 * [(6, "incident")]  # it began and ended
    assert sorted(found) == sorted(right)
    seconds = [second for second, _ in found]
    assert seconds == sorted(seconds, reverse=not ascending)


async def test_entries_and_times_are_chosen(told):
    assert await whole(told.stub, 2, entries=["gap", "alert"]) == [(6, "alert"), (4, "gap")]
    assert await whole(told.stub, 2, entries=["incident"]) == 2 * [(6, "incident")]
    searched = pb.EventFilter(search="x")
    assert await whole(told.stub, 2, entries=["incident"], filter=searched) == []
    span = pb.EventFilter(
        from_time=clock.to_timestamp(T0 + 4 * SECOND), to_time=clock.to_timestamp(T0 + 5 * SECOND)
    )
    assert sorted(await whole(told.stub, 5, filter=span)) == [
        (4, "event"),
        (4, "gap"),
        (5, "event"),
    ]
    # Gaps bear on whatever is asked for.
    nobody = await whole(told.stub, 5, filter=pb.EventFilter(users=["nobody"]))
    assert nobody == [(4, "gap")]


async def test_a_gap_is_an_event_where_gaps_are_not_asked_for(told):
    found = await whole(told.stub, 50, entries=["event"])
    assert len(found) == 11


async def test_no_such_entries_are_refused(told):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await told.stub.GetTimeline(pb.GetTimelineRequest(entries=["nonsense"]))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def process(pid, parent, **fields):
    return an_image(pid=pid, parent_exec_id=exec_id(parent) if parent else "", **fields)


async def test_the_tree_shows_what_is_above_below_and_beside(store, tls):
    top, shell = process(10, 0, executable="/sbin/init"), process(20, 10)
    me, child, grandchild = process(30, 20), process(40, 30), process(50, 40)
    sibling, stranger = process(31, 20), process(99, 98)
    connect = events.Connect(protocol=1, remote_address="192.0.2.1", remote_port=443)
    body = a_body(
        *((image, an_event()) for image in (top, shell, me, child, grandchild, sibling, stranger)),
        (child, an_event(file_change=changes("/etc/passwd", b"/tmp/a\xff"))),
        (child, an_event(connect=connect)),
        (child, an_event(time_ns=T0 + 1, exit=events.Exit(code=3))),
    )
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    answer = await store.stub.GetProcessTree(
        pb.GetProcessTreeRequest(host_id=HOST, exec_id=exec_id(30))
    )
    relations = {node.image.pid: node.relation for node in answer.nodes}
    assert relations == {
        10: "ancestor",
        20: "ancestor",
        30: "self",
        40: "child",
        50: "child",
        31: "sibling",
    }
    assert answer.complete
    (did,) = [node for node in answer.nodes if node.image.pid == 40]
    assert list(did.changed_paths) == ["/etc/passwd", "/tmp/a\\xff"]
    assert list(did.connections) == ["tcp 192.0.2.1:443"]
    assert did.exit.code == 3
    assert clock.from_timestamp(did.end_time) == T0 + 1
    assert did.parent_exec_id == exec_id(30)
    assert dict(did.event_counts) == {"exec": 1, "file_change": 1, "connect": 1, "exit": 1}


async def test_ancestors_that_were_not_seen_are_named_by_those_below_them(store, tls):
    told = [an_ancestor("/bin/bash", 20, script=b"/opt/x"), an_ancestor("/sbin/init", 10)]
    me, child = below(process(30, 20), *told), below(process(40, 30), an_ancestor(pid=30), *told)
    body = a_body((me, an_event()), (child, an_event()))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    answer = await store.stub.GetProcessTree(
        pb.GetProcessTreeRequest(host_id=HOST, exec_id=exec_id(30))
    )
    nodes = {node.image.pid: node for node in answer.nodes}
    assert {pid: node.relation for pid, node in nodes.items()} == {
        30: "self",
        20: "ancestor",
        10: "ancestor",
        40: "child",
    }
    assert (nodes[20].image.script, nodes[20].parent_exec_id) == (b"/opt/x", exec_id(10))
    assert list(nodes[30].ancestors) == told
    assert [ancestor.pid for ancestor in nodes[40].ancestors] == [30, 20, 10]
    found = await store.stub.SearchEvents(
        pb.SearchEventsRequest(filter=pb.EventFilter(exec_ids=[exec_id(30)]))
    )
    assert list(found.events[0].ancestors) == told


async def test_a_loop_of_parents_ends_and_an_unknown_process_is_said_to_be(store, tls):
    one, two = process(1, 2), process(2, 1)
    body = a_body((one, an_event()), (two, an_event()))
    await deliver(store.address, tls.host(), [sealed_batch(body)], HOST)
    request = pb.GetProcessTreeRequest(host_id=HOST, exec_id=exec_id(1))
    assert len((await store.stub.GetProcessTree(request)).nodes) == 2
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await store.stub.GetProcessTree(pb.GetProcessTreeRequest(host_id=HOST, exec_id="nobody"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
