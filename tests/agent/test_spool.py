import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import spool as spool_module
from agent.spool import Spool
from nightherd.event.v1 import delivery_pb2 as pb
from tests.agent.receiver import assert_gapless
from tests.agent.sealing import append

ROOT = Path(__file__).resolve().parents[2]


def batches_of(spool: Spool) -> dict[int, pb.SealedBatch]:
    return {
        number: batch
        for number in range(1, spool.link.number + 1)
        if (batch := spool.read(number)) is not None
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, list[int]]:
    """A spool of six batches, and where in its only segment each ends."""
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    ends = []
    for _ in range(6):
        append(spool)
        ends.append(spool.size_bytes)
    spool.close()
    return folder, ends


@pytest.fixture
def memory(tmp_path) -> Iterator[Path]:
    """A folder on which nothing waits for a disk, where there is one."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def copy_of(folder: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place


def test_killed_at_any_byte_every_whole_batch_survives_and_the_chain_goes_on(recorded, memory):
    folder, ends = recorded
    original = Spool(folder)
    kept = batches_of(original)
    original.close()
    for cut in range(ends[-1] + 1):
        copy = copy_of(folder, memory / "cut")
        # Cursors are written now and then: a killed agent's are old.
        (copy / "cursors").unlink()
        os.truncate(next(copy.glob("*.seg")), cut)
        whole = sum(end <= cut for end in ends)

        spool = Spool(copy)
        assert spool.link.number == whole, cut
        assert spool.torn_bytes == cut - (ends[whole - 1] if whole else 0), cut
        assert spool.take_damage() == []
        assert batches_of(spool) == {n: b for n, b in kept.items() if n <= whole}
        append(spool, 2)
        spool.close()

        again = Spool(copy)
        assert again.link.number == whole + 2
        assert again.torn_bytes == 0
        assert_gapless(batches_of(again))
        again.close()


def test_cut_below_what_was_durable_numbers_are_not_used_twice(recorded, memory):
    folder, ends = recorded
    original = Spool(folder)
    head = original.link
    original.close()
    for cut in range(0, ends[-1], 7):
        copy = copy_of(folder, memory / "cut")
        os.truncate(next(copy.glob("*.seg")), cut)
        whole = sum(end <= cut for end in ends)
        spool = Spool(copy)
        assert spool.link == head
        assert spool.take_damage() == [(whole + 1, len(ends))]
        missing = spool.missing("store", whole + 1)
        assert (missing.first, missing.last, missing.event_count) == (whole + 1, len(ends), 0)
        append(spool, 1)
        header = pb.BatchHeader.FromString(spool.read(len(ends) + 1).header)
        assert header.previous_hash == head.hash
        spool.close()
        again = Spool(copy)
        assert again.take_damage() == []  # told once
        again.close()


@pytest.mark.parametrize("name", ["cursors", "chain"])
def test_the_small_files_cut_at_any_byte_cost_no_batch(recorded, memory, name):
    folder, ends = recorded
    for cut in range((folder / name).stat().st_size):
        copy = copy_of(folder, memory / "cut")
        os.truncate(copy / name, cut)
        spool = Spool(copy)
        assert spool.link.number == len(ends)
        assert not spool.is_new
        assert spool.take_damage() == []
        append(spool, 1)
        spool.close()
        again = Spool(copy)
        assert_gapless(batches_of(again))
        assert again.chain_id == spool.chain_id
        again.close()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_costs_the_records_it_touches_and_is_told(recorded, data, memory):
    folder, ends = recorded
    begins = [0, *ends[:-1]]
    place = data.draw(st.integers(0, ends[-1] - 1))
    noise = data.draw(st.binary(min_size=1, max_size=min(700, ends[-1] - place)))
    copy = copy_of(folder, memory / "bent")
    segment = next(copy.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    same = bytes(content)
    content[place : place + len(noise)] = noise
    segment.write_bytes(content)
    touched = {
        number
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True), 1)
        if content[begin:end] != same[begin:end]
    }
    original = Spool(folder)
    kept = batches_of(original)
    original.close()

    spool = Spool(copy)
    assert batches_of(spool) == {n: batch for n, batch in kept.items() if n not in touched}
    told = {n for first, last in spool.take_damage() for n in range(first, last + 1)}
    assert told == touched
    assert spool.link.number == len(ends)
    append(spool, 1)
    assert spool.read(len(ends) + 1) is not None
    spool.close()


def test_what_is_damaged_while_the_agent_runs_is_noticed_when_it_is_read(tmp_path):
    spool = Spool(tmp_path)
    append(spool, 3)
    segment = next(tmp_path.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    assert spool.read(2) is None
    assert spool.read(3) is not None
    assert spool.take_damage() == [(2, 2)]
    assert spool.take_damage() == []
    assert spool.missing("store", 2).last == 2
    spool.close()


def test_a_batch_hidden_in_a_batch_is_not_found_by_a_search(tmp_path):
    from agent import segments

    other = Spool(tmp_path / "other")
    fake = append(other, 9)[8]
    other.close()
    spool = Spool(tmp_path / "spool")
    append(spool, 1)
    batch = pb.SealedBatch.FromString(spool.read(1).SerializeToString())
    spool.close()
    segment = next((tmp_path / "spool").glob("*.seg"))
    batch.body = segments.frame(fake)
    whole = segments.frame(batch)
    # The outer record is damaged: the search comes upon the inner one.
    with segment.open("ab") as file:
        file.write(whole[:-1])
    assert len(list(segments.read(segment))) == 2
    again = Spool(tmp_path / "spool")
    assert again.link.number == 1
    again.close()


def test_a_search_through_endless_false_records_ends(tmp_path, monkeypatch):
    from agent import segments

    monkeypatch.setattr(segments, "MOST_SEARCHED_BYTES", 1 << 20)
    head = segments.MAGIC + (100_000).to_bytes(4, "little") + bytes(4)
    path = tmp_path / "1.seg"
    path.write_bytes(head * 20_000)
    assert list(segments.read(path)) == []


def test_a_restart_continues_the_chain_with_its_cursors(tmp_path):
    spool = Spool(tmp_path)
    append(spool, 3)
    spool.settled("store", 2)
    spool.close()
    again = Spool(tmp_path)
    assert again.chain_id == spool.chain_id
    assert again.cursors == {"store": 2, "detector": 0, "modeler": 0}
    append(again, 2)
    assert_gapless(batches_of(again))
    again.close()


def test_a_deleted_spool_is_a_new_chain(tmp_path):
    folder = tmp_path / "spool"
    spool = Spool(folder)
    append(spool)
    spool.close()
    shutil.rmtree(folder)
    again = Spool(folder)
    assert again.chain_id != spool.chain_id
    assert again.link.number == 0
    again.close()


def test_a_cursor_never_goes_beyond_the_chain(tmp_path):
    spool = Spool(tmp_path)
    append(spool, 2)
    spool.settled("store", 99)
    assert spool.cursors["store"] == 2
    (tmp_path / "cursors").write_text('{"store": 77, "detector": "x", "modeler": null}')
    spool.close()
    (tmp_path / "cursors").write_text('{"store": 77, "detector": "x", "modeler": null}')
    again = Spool(tmp_path)
    assert again.cursors == {"store": 2, "detector": 0, "modeler": 0}
    again.close()


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 4096)


def told_missing(spool: Spool, receiver: str, number: int) -> tuple[int, int]:
    """Return the first number from `number` on that is not missing, and the events in between."""
    events = 0
    while hole := spool.missing(receiver, number):
        assert hole.first == number
        events += hole.event_count
        number = hole.last + 1
    return number, events


def test_the_quota_takes_first_what_the_store_has(tmp_path, small_segments):
    spool = Spool(tmp_path, quota_bytes=40_000)
    append(spool, 10)
    spool.settled("store", spool.link.number)
    settled = spool.link.number
    evicted = []
    while spool.first == 1:
        evicted += _append_one(spool)
    assert not evicted
    assert spool.first <= settled + 1
    assert spool.size_bytes <= 40_000
    # The detector and the modeler had nothing yet: for them it is a hole.
    hole = spool.missing("detector", 1)
    assert (hole.first, hole.last, hole.event_count) == (1, spool.first - 1, spool.first - 1)
    spool.close()


def test_beyond_the_quota_unsent_batches_go_and_are_told(tmp_path, small_segments):
    spool = Spool(tmp_path, quota_bytes=20_000)
    evicted = []
    while not evicted:
        batch_before = spool.link.number
        evicted = _append_one(spool)
        assert spool.link.number == batch_before + 1
    assert evicted[0].first == 1
    assert spool.first == evicted[-1].last + 1
    assert spool.missing("store", 1) == evicted[0]
    spool.close()


def test_counts_of_what_was_given_up_are_known_after_a_kill(tmp_path, small_segments):
    spool = Spool(tmp_path / "spool", quota_bytes=20_000)
    append(spool, 4)
    spool.settled("store", 3)
    while spool.first < 60:
        _append_one(spool)
    first = spool.first
    # Killed: neither closed, nor were cursors saved after the last eviction.
    again = Spool(copy_of(tmp_path / "spool", tmp_path / "copy"), quota_bytes=20_000)
    assert again.first == first
    for receiver, done in (("store", 3), ("detector", 0)):
        assert told_missing(again, receiver, done + 1) == (first, first - 1 - done)
    # A receiver that lost what it had asks for what was never a hole: nobody knows the count.
    assert again.missing("store", 2).event_count == 0
    assert again.missing("store", 2).last == 3
    again.close()
    spool.close()


def test_a_receiver_in_the_middle_of_what_went_is_told_the_rest(tmp_path, small_segments):
    spool = Spool(tmp_path, quota_bytes=20_000)
    append(spool, 5)
    while spool.first == 1:
        _append_one(spool)
    last = spool.first - 1
    # Batches 1 and 2 were under way and arrived.
    spool.settled("store", 2)
    hole = spool.missing("store", 3)
    assert (hole.first, hole.last, hole.event_count) == (3, last, last - 2)
    spool.settled("store", last)
    assert spool.missing("store", last + 1) is None
    spool.close()


def test_an_emptied_spool_goes_on_and_one_that_lost_all_begins_anew(tmp_path, small_segments):
    spool = Spool(tmp_path)
    append(spool, 3)
    head = spool.link
    spool.close()
    for segment in tmp_path.glob("*.seg"):
        segment.unlink()
    again = Spool(tmp_path)
    assert again.link == head
    append(again, 1)
    again.close()
    for path in (*tmp_path.glob("*.seg"), tmp_path / "cursors"):
        path.unlink()
    anew = Spool(tmp_path)
    assert anew.chain_id != head.chain_id
    assert anew.link.number == 0
    anew.close()


def test_what_a_failed_write_left_behind_costs_nothing(tmp_path):
    spool = Spool(tmp_path)
    append(spool, 1)
    with next(tmp_path.glob("*.seg")).open("ab") as file:
        file.write(b"NHSB half a record that could not be taken back")
    append(spool, 2)
    assert_gapless(batches_of(spool))
    spool.close()
    again = Spool(tmp_path)
    assert_gapless(batches_of(again))
    assert again.take_damage() == []
    again.close()


@contextmanager
def a_disk(folder: Path, options: str):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder / "spool"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@needs_root
def test_on_a_full_disk_what_the_store_has_makes_room(tmp_path, small_segments):
    with a_disk(tmp_path / "disk", "size=64k") as folder:
        spool = Spool(folder)
        with suppress(OSError):
            while True:
                _append_one(spool)
        full = spool.link.number
        with pytest.raises(OSError, match="No space left"):
            _append_one(spool)
        assert (spool.link.number, spool.first) == (full, 1)
        spool.settled("store", full)
        evicted = []
        for _ in range(200):
            evicted += _append_one(spool)
            spool.settled("store", spool.link.number)
        assert spool.link.number == full + 200
        assert evicted == []
        whole = batches_of(spool)
        assert sorted(whole) == list(range(spool.first, full + 201))
        spool.close()
        again = Spool(folder)
        assert batches_of(again) == whole
        assert told_missing(again, "detector", 1) == (again.first, again.first - 1)
        again.close()


@needs_root
def test_where_no_further_file_can_be_made_the_last_one_grows(tmp_path, small_segments):
    with a_disk(tmp_path / "disk", "nr_inodes=6") as folder:
        spool = Spool(folder)
        append(spool, 60)
        assert_gapless(batches_of(spool))
        assert len(list(folder.glob("*.seg"))) < 4
        spool.close()
        again = Spool(folder)
        assert again.link.number == 60
        assert_gapless(batches_of(again))
        again.close()


WRITER = """
import sys
from pathlib import Path
from agent import spool
from tests.agent.sealing import append
spool.SEGMENT_BYTES = 8192
own = spool.Spool(Path(sys.argv[1]))
while True:
    append(own, 1, size=own.link.number % 400 + 10)
    print(own.link.number, flush=True)
    if own.link.number % 5 == 0:
        own.settled("store", own.link.number - 2)
        own.save_cursors()
"""


def test_a_writer_that_is_killed_again_and_again_loses_nothing_it_had_written(tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    written = 0
    for kills in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], env=environment, stdout=subprocess.PIPE
        )
        for _ in range(3 + kills * 5):
            written = int(writer.stdout.readline())
        writer.kill()
        rest = writer.communicate()[0].split()
        written = int(rest[-1]) if rest else written
    spool = Spool(tmp_path)
    assert spool.link.number >= written > 300
    assert_gapless(batches_of(spool))
    assert spool.take_damage() == []
    spool.close()


def _append_one(spool: Spool):
    from agent.stages.seal import Body, Host, Sealer
    from tests.agent.sealing import KEY
    from tests.builders import BOOT, HOST, a_body

    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
    batch = sealer.seal(Body.of(a_body()), 0)
    return spool.append([batch], [sealer.link])
