"""From when until when no agent ran: exact after a stop, generous after a kill."""

import json

import pytest

from agent import downtime
from agent.spool import Spool
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import append

SECOND = 1_000_000_000
CLOSE_NS = SECOND // 10
"""Two readings of a clock may lie so far apart on a busy machine."""


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool")
    append(opened, 3)
    yield opened
    opened.close()


@pytest.fixture
def again(spool, tmp_path):
    spool.close()
    opened = Spool(tmp_path / "spool")
    yield opened
    opened.close()


def the_gap(folder, spool, seeing_ns) -> events.Gap:
    (event,) = downtime.gaps(folder, spool, seeing_ns)
    assert event.gap.cause == events.Gap.CAUSE_AGENT_DOWN
    return event.gap


def span(gap: events.Gap) -> tuple[int, int]:
    """Return a gap's ends on the boot clock."""
    offset = clock.wall_minus_boot_ns()
    return tuple(clock.from_timestamp(each) - offset for each in (gap.start_time, gap.end_time))


def test_the_first_agent_of_a_host_missed_nothing(tmp_path):
    fresh = Spool(tmp_path / "new")
    assert downtime.gaps(tmp_path, fresh, clock.boot_ns()) == []
    fresh.close()


def test_after_a_stop_the_gap_begins_where_sources_were_read_last(tmp_path, again):
    now = clock.boot_ns()
    stopped, seeing = now - 9 * SECOND, now - 4 * SECOND
    downtime.note(tmp_path, 3, stopped, clock.wall_minus_boot_ns())
    start, end = span(the_gap(tmp_path, again, seeing))
    assert start == pytest.approx(stopped - downtime.READING_NS, abs=CLOSE_NS)
    assert end == pytest.approx(seeing, abs=CLOSE_NS)


def test_a_clock_that_was_set_meanwhile_does_not_matter_within_a_boot(tmp_path, again):
    now = clock.boot_ns()
    wrong = clock.wall_minus_boot_ns() + 3600 * SECOND
    downtime.note(tmp_path, 3, now - 9 * SECOND, wrong)
    start, _ = span(the_gap(tmp_path, again, now))
    assert start == pytest.approx(now - 9 * SECOND - downtime.READING_NS, abs=CLOSE_NS)


def test_another_boot_is_compared_by_the_wall_clock(tmp_path, again):
    now = clock.wall_ns()
    said = [3, "another boot", 77, now - 600 * SECOND]
    (tmp_path / downtime.FILE).write_text(json.dumps(said))
    gap = the_gap(tmp_path, again, clock.boot_ns())
    assert clock.from_timestamp(gap.start_time) == now - 600 * SECOND


@pytest.mark.parametrize(
    "said",
    [
        None,
        b"",
        b"\xff",
        b"{}",
        b"[1, 2]",
        b'["3", "boot", 1, 1]',
        b"[3, 4, 1, 1]",
        b"[3, null, 1e3, true]",
        b"[" * 4000,
    ],
    ids=lambda said: repr(said)[:20],
)
def test_a_kill_or_a_damaged_note_means_what_may_have_been_held_back_is_missing(
    tmp_path, again, said
):
    if said is not None:
        (tmp_path / downtime.FILE).write_bytes(said)
    now = clock.boot_ns()
    gap = the_gap(tmp_path, again, now)
    assert clock.from_timestamp(gap.start_time) == again.last_event_ns - downtime.HELD_NS
    assert span(gap)[1] == pytest.approx(now, abs=CLOSE_NS)


def test_a_note_of_an_earlier_stop_says_nothing_once_more_was_sealed(tmp_path, spool):
    downtime.note(tmp_path, 3, clock.boot_ns(), clock.wall_minus_boot_ns())
    append(spool, 1)
    spool.close()
    later = Spool(tmp_path / "spool")
    gap = the_gap(tmp_path, later, clock.boot_ns())
    assert clock.from_timestamp(gap.start_time) == later.last_event_ns - downtime.HELD_NS
    later.close()


def test_a_gap_never_ends_before_it_begins(tmp_path, again):
    said = [3, "another boot", 77, clock.wall_ns() + 600 * SECOND]
    (tmp_path / downtime.FILE).write_text(json.dumps(said))
    gap = the_gap(tmp_path, again, clock.boot_ns())
    assert clock.from_timestamp(gap.start_time) == clock.from_timestamp(gap.end_time)
