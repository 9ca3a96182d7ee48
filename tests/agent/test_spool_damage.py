"""Whatever is cut off or overwritten: what is whole is kept, what is not is told."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import segments
from agent.spool import Spool
from nightherd.event.v1 import delivery_pb2 as pb
from tests.agent.receiver import assert_gapless
from tests.agent.sealing import append
from tests.agent.spools import batches_of, copy_of


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


@settings(max_examples=300)
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


def test_a_search_through_endless_false_records_ends(tmp_path):
    head = segments.MAGIC + (100_000).to_bytes(4, "little") + bytes(4)
    path = tmp_path / "1.seg"
    path.write_bytes(head * 20_000)
    assert list(segments.read(path, 1 << 20)) == []
