"""What the agent gives up it says, with its true cause, in a batch of its own chain."""

from contextlib import suppress

import pytest

from agent import segments
from agent.output import MOST_UNWRITTEN
from agent.spool import Spool
from agent.verify import verify_spool
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.agent.spools import SMALL, a_disk, needs_root
from tests.agent.test_output import gaps_in, output_into, seal_one

PUBLIC = KEY.public_key().public_bytes_raw()


def test_an_eviction_names_the_batches_that_went(tmp_path):
    spool = Spool(tmp_path, quota_bytes=16_000, segment_bytes=SMALL)
    output = output_into(spool)
    while not output.lost_count:
        seal_one(output, f"host{spool.link.number}")
    output.finish()
    gap = gaps_in(spool)[0]
    hole = spool.missing("store", 1)
    assert gap.cause == hole.cause == events.Gap.CAUSE_SPOOL_EVICTION
    assert (gap.first_batch, gap.last_batch) == (1, hole.last)
    spool.close()


@needs_root
def test_what_a_full_disk_does_not_take_is_given_up_with_its_count_and_not_called_an_eviction(
    tmp_path,
):
    with a_disk(tmp_path / "disk", "size=64k") as folder:
        spool = Spool(folder)
        output = output_into(spool)
        filler = tmp_path / "disk" / "filler"
        with suppress(OSError):
            filler.write_bytes(bytes(64 << 10))
        noise = [segments.MAGIC.decode() * 20 + str(number) for number in range(500)]
        for number in range(MOST_UNWRITTEN + 7):
            seal_one(output, f"host{number}", noise)
        given_up = output.lost_count
        assert output.unwritten == MOST_UNWRITTEN
        assert 0 < given_up <= 7
        filler.unlink()
        # A disk of this size takes them when they are smaller than they were together.
        while output.unwritten:
            output.advance(clock.boot_ns())
        output.finish()
        (gap,) = gaps_in(spool)
        assert gap.cause == events.Gap.CAUSE_GIVEN_UP
        assert (gap.precision, gap.lost) == (events.Gap.PRECISION_EXACT, given_up)
        assert (gap.first_batch, gap.last_batch) == (0, 0)
        spool.close()


@pytest.mark.parametrize("said", [True, False])
def test_a_hole_that_a_batch_speaks_of_is_stated_and_another_is_missing(tmp_path, capsys, said):
    spool = Spool(tmp_path)
    output = output_into(spool)
    for number in range(4):
        seal_one(output, f"host{number}")
    spool.close()
    (path,) = tmp_path.glob("*.seg")
    content = path.read_bytes()
    third = list(segments.read(path))[2]
    path.write_bytes(content[: third.offset] + content[third.end :])
    again = Spool(tmp_path)
    assert again.missing("store", 3).cause == events.Gap.CAUSE_SPOOL_DAMAGE
    output = output_into(again)
    if said:
        now = clock.boot_ns()
        for first, last in again.take_damage():
            gap = output.gap(events.Gap.CAUSE_SPOOL_DAMAGE, now, now, source="spool")
            gap.gap.first_batch, gap.gap.last_batch = first, last
            output.tell(gap)
        output.finish()
    again.close()
    assert verify_spool(tmp_path, PUBLIC) == (0 if said else 1)
    told = capsys.readouterr().out
    assert ("batches 3-3: given up by the agent" in told) == said
    assert ("batches 3-3 are missing" in told) != said
