"""No event, image or line makes a batch that a receiver refuses, whatever its fields hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.lines import MOST_LENGTH, Ran, below
from agent.stages.bounds import (
    LEAST_TEXT_BYTES,
    MOST_CANDIDATES,
    MOST_TEXT_BYTES,
    Bounds,
    cut_path,
    pieces,
)
from agent.stages.fold import Made
from agent.stages.seal import LEAST_LIMIT_BYTES, Collector, Host, Link, Sealer
from chassis.tls import Peer
from delivery.checks import Checked, Limits, check
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.builders import BOOT, CHAIN, HOST, an_event, an_image, changes, exec_id
from tests.evidence.anything import KINDS

PEER = Peer("host", HOST, "default", KEY.public_key().public_bytes_raw())
LIMITS = [LEAST_LIMIT_BYTES, 64 << 10, 1 << 20, 4 << 20]


def filled(message, text: int, many: int, depth: int = 0):
    """Set every text and every list of a message: texts of `text` bytes, lists of `many`."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field.containing_oneof.name == "kind":
            continue
        if field.type == field.TYPE_MESSAGE:
            if field.message_type.name == "Timestamp" or depth > 2:
                continue
            value = getattr(message, field.name)
            for _ in range(many if field.is_repeated else 0):
                filled(value.add(), text, 3, depth + 1)
            if not field.is_repeated:
                filled(value, text, many, depth + 1)
        elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            one = "é" * (text // 2) if field.type == field.TYPE_STRING else b"\xff" * text
            if field.is_repeated:
                getattr(message, field.name).extend([one] * many)
            else:
                setattr(message, field.name, one)
    return message


def taken(mades: list[Made], limit: int) -> list[Checked]:
    """What a receiver with this limit has of events, sealed as the agent does."""
    collector, batches = Collector(), []
    collector.limit(limit)
    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, Link(CHAIN, 0, b""))
    for made in mades:
        for event in pieces(made.event, collector.bounds)[0]:
            if collector.add(Made(made.ran, event), 0):
                batches.append(sealer.seal(collector.take(), 0))
    if len(collector):
        batches.append(sealer.seal(collector.take(), 0))
    return [check(batch, PEER, Limits(body_size_bytes=limit), decode=True) for batch in batches]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_any_kind_with_everything_in_it_is_taken(kind, limit):
    mades = []
    for text, many in ((200_000, 2), (9_000, 50), (100, 5_000)):
        event = an_event(None)
        filled(getattr(event, kind), text, many).SetInParent()
        image = filled(an_image(), text, many)
        mades += [Made(Ran(image), event), Made(Ran(an_image()), an_event(None))]
    batches = taken(mades, limit)
    told = [event for batch in batches for event in batch.body().events]
    assert len(told) >= len(mades)
    assert any(event.cut for event in told)
    for batch in batches:
        assert batch.header.body_size_bytes <= limit


@given(st.integers(1, 2 * MOST_LENGTH), st.integers(0, 9000), st.sampled_from(LIMITS))
def test_what_stands_above_an_image_is_bounded_too(depth, length, limit):
    ran = Ran(an_image(pid=1))
    mades = []
    for pid in range(2, depth + 2):
        path = b"/" + b"d" * length
        image = an_image(path, [b"x" * 600], pid=pid, script=path, working_directory=path)
        ran = Ran(image, below(ran))
        mades.append(Made(ran, an_event(None)))
    assert sum(batch.header.event_count for batch in taken(mades, limit)) == depth


@given(st.integers(0, 3 * MOST_TEXT_BYTES), st.integers(LEAST_TEXT_BYTES, MOST_TEXT_BYTES))
def test_a_path_is_cut_in_its_middle_and_says_by_how_much(length, most):
    path = bytes(number % 251 + 1 for number in range(length))
    shorter, cut = cut_path(path, most)
    assert len(shorter) <= most
    if cut:
        begin, _, end = shorter.partition(b"/.../")
        assert path.startswith(begin)
        assert path.endswith(end)
        assert len(begin) + len(end) + cut == length
    else:
        assert shorter == path


def test_what_is_left_out_is_marked_and_counted():
    event = an_event(None, file_change=changes(b"/etc/passwd"))
    event.file_change.candidate_exec_ids.extend(exec_id(pid) for pid in range(100))
    (told,), left_out = pieces(event, Bounds())
    assert left_out == 100 - MOST_CANDIDATES
    assert len(told.file_change.candidate_exec_ids) == MOST_CANDIDATES
    assert told.cut
    added = [b"member%d" % number for number in range(20_000)]
    event = an_event(None, account_change=events.AccountChange(members_added=added))
    (told,), left_out = pieces(event, Bounds())
    assert left_out == 20_000 - len(told.account_change.members_added) > 0
    assert told.cut
    assert told.ByteSize() <= Bounds().event


def test_changes_that_find_no_room_go_into_further_events():
    paths = [b"/home/alice/.ssh/" + b"d" * 500 + b"%d" % number for number in range(2_000)]
    event = an_event(None, file_change=changes(*paths))
    some, left_out = pieces(event, Bounds())
    assert left_out == 0
    assert [change.path for each in some for change in each.file_change.changes] == paths
    assert all(each.ByteSize() <= Bounds().event for each in some)
    assert not any(each.cut for each in some)
