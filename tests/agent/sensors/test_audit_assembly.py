"""Kernel events from audit records: outside logs, and laws."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.audit_assembly import (
    FEWEST_PASSED,
    MOST_HELD,
    MOST_OPEN,
    MOST_RECORDS,
    Assembler,
)
from agent.sensors.audit_records import TYPE_NAMES, parse

NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
LINE = re.compile(rb"type=(\w+) msg=(.*)")


def records(path):
    for line in path.read_bytes().splitlines():
        kind, text = LINE.match(line).groups()
        yield parse(NUMBERS[kind.decode()], text)


def assembled(given_records):
    assembler = Assembler()
    events = [event for record in given_records for event in assembler.add(record)]
    events += assembler.finish()
    return events, sum(hole.serials for hole in assembler.lost()), assembler


def record(serial, kind="SYSCALL", milliseconds=0):
    stamp = b"audit(%d.%03d:%d): pid=1" % (milliseconds // 1000, milliseconds % 1000, serial)
    return parse(NUMBERS[kind], stamp)


@pytest.mark.parametrize(
    ("log", "serials", "lost"),
    [
        ("normal", [58, 59, 60, 61, 62], 0),
        ("out_of_order", [58, 59, 60, 61, 62], 0),
        ("lost_messages", [49, 59, 60, 61, 62], 9),
        ("rollover", [4294967294, 4294967295, 0, 1, 2], 0),
    ],
)
def test_recorded_logs_give_whole_events_and_say_what_is_lost(shared_data, log, serials, lost):
    given_records = list(records(shared_data / "go-libaudit" / "testdata" / f"{log}.log"))
    events, missing, assembler = assembled(given_records)
    assert [event.serial for event in events] == serials
    assert missing == lost
    assert assembler.restarts == 0
    assert sum(len(event.kinds) for event in events) == len(given_records)
    for event in events:
        assert event.text("SYSCALL") is not None


def test_records_out_of_order_give_the_same_events_as_in_order(shared_data):
    folder = shared_data / "go-libaudit" / "testdata"
    whole = [
        {event.serial: sorted(event.texts) for event in events}
        for events, _, _ in (
            assembled(records(folder / f"{log}.log")) for log in ("normal", "out_of_order")
        )
    ]
    assert whole[0] == whole[1]


def test_a_single_record_is_an_event_at_once_and_a_call_at_its_end():
    assembler = Assembler()
    assert [event.serial for event in assembler.add(record(1, "USER_LOGIN"))] == [1]
    assert assembler.add(record(2)) == []
    assert assembler.add(record(2, "PATH")) == []
    (event,) = assembler.add(record(2, "EOE"))
    assert event.kinds == ["SYSCALL", "PATH", "EOE"]


def test_events_without_an_end_are_whole_when_time_and_events_passed_them():
    assembler = Assembler()
    for serial in range(FEWEST_PASSED):
        assert assembler.add(record(serial, milliseconds=1000 + serial * 1000)) == []
    whole = assembler.add(record(FEWEST_PASSED, milliseconds=60_000))
    assert [event.serial for event in whole] == [0]
    assert [each.serial for each in assembler.due(5_500_000_000)] == [1, 2]


def test_a_login_waits_for_the_call_that_wrote_it():
    assembler = Assembler()
    assert assembler.add(record(1, "LOGIN")) == []
    assembler.add(record(1, "SYSCALL"))
    (event,) = assembler.add(record(1, "EOE"))
    assert event.kinds == ["LOGIN", "SYSCALL", "EOE"]


def test_no_more_than_a_bounded_number_waits():
    assembler = Assembler()
    given_back = [e.serial for serial in range(2000) for e in assembler.add(record(serial))]
    assert given_back == list(range(2000 - MOST_OPEN))


def test_records_without_end_are_held_in_a_bounded_number():
    assembler = Assembler()
    most, out = 0, 0
    for number in range(3 * MOST_HELD):
        for event in assembler.add(record(number % 16, "PATH")):
            out += len(event.kinds)
        most = max(most, number + 1 - out)
    assert most <= MOST_HELD + MOST_RECORDS
    out += sum(len(event.kinds) for event in assembler.finish())
    assert out == 3 * MOST_HELD


def test_a_serial_that_comes_late_is_not_lost():
    assembler = Assembler()
    for serial in (1, 5, 3):
        assembler.add(record(serial, "USER_LOGIN"))
    assert [(hole.first, hole.serials) for hole in assembler.lost()] == [(2, 1), (4, 1)]
    assert assembler.lost() == []


def test_a_restarted_host_lost_nothing():
    _, lost, assembler = assembled(record(serial, "USER_LOGIN") for serial in (90000, 1, 2))
    assert (lost, assembler.restarts) == (0, 1)


KINDS = st.sampled_from(["SYSCALL", "PATH", "LOGIN", "EOE", "USER_LOGIN", "KERNEL"])


@given(
    st.lists(
        st.builds(
            record,
            st.integers(0, 30) | st.integers(0, 1 << 40),
            KINDS,
            st.integers(0, 9000) | st.integers(0, 1 << 39),
        )
    )
)
def test_every_record_comes_out_once(given_records):
    events, lost, _ = assembled(given_records)
    out = [(event.wall_ns, event.serial, kind) for event in events for kind in event.kinds]
    assert sorted(out) == sorted((each.wall_ns, each.serial, each.kind) for each in given_records)
    assert lost >= 0


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.lists(KINDS, min_size=1, max_size=6)),
        max_size=30,
    )
)
def test_records_that_came_together_are_put_together_as_if_each_came_alone(runs):
    one_by_one, together = Assembler(), Assembler()
    for serial, seconds, kinds in runs:
        stamp = seconds * 1_000_000_000, serial
        for kind in kinds:
            one_by_one.hold(*stamp, [kind], [b""])
        together.hold(*stamp, list(kinds), [b""] * len(kinds))
    assert [(e.wall_ns, e.serial, e.kinds, e.boot) for e in one_by_one.finish()] == [
        (e.wall_ns, e.serial, e.kinds, e.boot) for e in together.finish()
    ]


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(0, (1 << 32) - 1), st.data())
def test_what_is_missing_is_counted_in_any_order_and_over_the_wrap(serials, start, data):
    first, last = min(serials), max(serials)
    rest = data.draw(st.permutations(sorted(serials - {first})))
    given_records = [record((start + s) % (1 << 32), "USER_LOGIN") for s in (first, *rest)]
    assembler = Assembler()
    for each in given_records:
        assembler.add(each)
    assert sum(hole.serials for hole in assembler.lost()) == last - first + 1 - len(serials)
