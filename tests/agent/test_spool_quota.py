"""What goes when the quota or the disk is full, and what receivers are told of it."""

from contextlib import suppress

import pytest

from agent.spool import Spool
from tests.agent.receiver import assert_gapless
from tests.agent.sealing import append, append_one
from tests.agent.spools import SMALL, a_disk, batches_of, copy_of, needs_root


def told_missing(spool: Spool, receiver: str, number: int) -> tuple[int, int]:
    """Return the first number from `number` on that is not missing, and the events in between."""
    events = 0
    while hole := spool.missing(receiver, number):
        assert hole.first == number
        events += hole.event_count
        number = hole.last + 1
    return number, events


def test_the_quota_takes_first_what_the_store_has(tmp_path):
    spool = Spool(tmp_path, segment_bytes=SMALL, quota_bytes=40_000)
    append(spool, 10)
    spool.settled("store", spool.link.number)
    settled = spool.link.number
    evicted = []
    while spool.first == 1:
        evicted += append_one(spool)
    assert not evicted
    assert spool.first <= settled + 1
    assert spool.size_bytes <= 40_000
    # The detector and the modeler had nothing yet: for them it is a hole.
    hole = spool.missing("detector", 1)
    assert (hole.first, hole.last, hole.event_count) == (1, spool.first - 1, spool.first - 1)
    spool.close()


def test_beyond_the_quota_unsent_batches_go_and_are_told(tmp_path):
    spool = Spool(tmp_path, segment_bytes=SMALL, quota_bytes=20_000)
    evicted = []
    while not evicted:
        batch_before = spool.link.number
        evicted = append_one(spool)
        assert spool.link.number == batch_before + 1
    assert evicted[0].first == 1
    assert spool.first == evicted[-1].last + 1
    assert spool.missing("store", 1) == evicted[0]
    spool.close()


def test_counts_of_what_was_given_up_are_known_after_a_kill(tmp_path):
    spool = Spool(tmp_path / "spool", segment_bytes=SMALL, quota_bytes=20_000)
    append(spool, 4)
    spool.settled("store", 3)
    while spool.first < 60:
        append_one(spool)
    first = spool.first
    # Killed: neither closed, nor were cursors saved after the last eviction.
    again = Spool(
        copy_of(tmp_path / "spool", tmp_path / "copy"), segment_bytes=SMALL, quota_bytes=20_000
    )
    assert again.first == first
    for receiver, done in (("store", 3), ("detector", 0)):
        assert told_missing(again, receiver, done + 1) == (first, first - 1 - done)
    # A receiver that lost what it had asks for what was never a hole: nobody knows the count.
    assert again.missing("store", 2).event_count == 0
    assert again.missing("store", 2).last == 3
    again.close()
    spool.close()


def test_a_receiver_in_the_middle_of_what_went_is_told_the_rest(tmp_path):
    spool = Spool(tmp_path, segment_bytes=SMALL, quota_bytes=20_000)
    append(spool, 5)
    while spool.first == 1:
        append_one(spool)
    last = spool.first - 1
    # Batches 1 and 2 were under way and arrived.
    spool.settled("store", 2)
    hole = spool.missing("store", 3)
    assert (hole.first, hole.last, hole.event_count) == (3, last, last - 2)
    spool.settled("store", last)
    assert spool.missing("store", last + 1) is None
    spool.close()


@needs_root
def test_on_a_full_disk_what_the_store_has_makes_room(tmp_path):
    with a_disk(tmp_path / "disk", "size=64k") as folder:
        spool = Spool(folder, segment_bytes=SMALL)
        with suppress(OSError):
            while True:
                append_one(spool)
        full = spool.link.number
        with pytest.raises(OSError, match="No space left"):
            append_one(spool)
        assert (spool.link.number, spool.first) == (full, 1)
        spool.settled("store", full)
        evicted = []
        for _ in range(200):
            evicted += append_one(spool)
            spool.settled("store", spool.link.number)
        assert spool.link.number == full + 200
        assert evicted == []
        whole = batches_of(spool)
        assert sorted(whole) == list(range(spool.first, full + 201))
        spool.close()
        again = Spool(folder, segment_bytes=SMALL)
        assert batches_of(again) == whole
        assert told_missing(again, "detector", 1) == (again.first, again.first - 1)
        again.close()


@needs_root
def test_where_no_further_file_can_be_made_the_last_one_grows(tmp_path):
    with a_disk(tmp_path / "disk", "nr_inodes=6") as folder:
        spool = Spool(folder, segment_bytes=SMALL)
        append(spool, 60)
        assert_gapless(batches_of(spool))
        assert len(list(folder.glob("*.seg"))) < 4
        spool.close()
        again = Spool(folder, segment_bytes=SMALL)
        assert again.link.number == 60
        assert_gapless(batches_of(again))
        again.close()
