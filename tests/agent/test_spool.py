import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import spool as spool_module
from agent.spool import Spool
from nightherd.event.v1 import delivery_pb2 as pb
from tests.agent.receiver import assert_gapless
from tests.agent.sealing import append


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


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_cut_at_any_byte_every_whole_batch_survives_and_the_chain_goes_on(recorded, data, tmp_path):
    folder, ends = recorded
    cut = data.draw(st.integers(0, ends[-1]))
    copy = tmp_path / "cut"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    segment = next(copy.glob("*.seg"))
    with segment.open("r+b") as file:
        file.truncate(cut)
    whole = sum(end <= cut for end in ends)

    spool = Spool(copy)
    assert spool.link.number == whole
    assert spool.torn_bytes == cut - (ends[whole - 1] if whole else 0)
    append(spool, 2)
    spool.close()

    again = Spool(copy)
    assert again.link.number == whole + 2
    assert_gapless(batches_of(again))
    again.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damaged_byte_is_noticed_and_never_read_as_a_batch(recorded, data, tmp_path):
    folder, ends = recorded
    place = data.draw(st.integers(0, ends[-1] - 1))
    copy = tmp_path / "bent"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    segment = next(copy.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    segment.write_bytes(content)
    original = Spool(folder)
    spool = Spool(copy)
    assert spool.torn_bytes or spool.damaged
    for number, batch in batches_of(spool).items():
        assert batch == original.read(number)
    spool.close()
    original.close()


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


def test_the_quota_takes_first_what_the_store_has(tmp_path, small_segments):
    spool = Spool(tmp_path, quota_bytes=40_000)
    append(spool, 10)
    spool.settled("store", spool.link.number)
    settled = spool.link.number
    while spool.first == 1:
        append(spool, 1)
    assert spool.first <= settled + 1
    assert not list(spool._dropped["store"])
    # The detector and the modeler had nothing yet: for them it is a hole.
    hole = next(iter(spool.holes("detector", 1)))
    assert hole.first == 1
    assert hole.event_count == hole.last
    assert spool.size_bytes <= 40_000
    spool.close()


def test_beyond_the_quota_unsent_batches_go_and_are_told(tmp_path, small_segments):
    spool = Spool(tmp_path, quota_bytes=20_000)
    evicted = []
    sealed = 0
    while not evicted:
        sealed += 1
        batch_before = spool.link.number
        evicted = _append_one(spool)
        assert spool.link.number == batch_before + 1
    assert evicted[0].first == 1
    assert spool.first == evicted[-1].last + 1
    assert next((h.first, h.last) for h in spool.holes("store", 1)) == (1, evicted[-1].last)
    spool.close()


def _append_one(spool: Spool):
    from agent.stages.seal import Body, Host, Sealer
    from tests.agent.sealing import KEY
    from tests.builders import BOOT, HOST, a_body

    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
    batch = sealer.seal(Body.of(a_body()), 0)
    return spool.append([batch], [sealer.link])
