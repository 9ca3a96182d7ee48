"""A spool keeps its chain over restarts and kills."""

import os
import shutil
import subprocess
import sys

from agent.spool import Spool
from tests.agent.receiver import assert_gapless
from tests.agent.sealing import append
from tests.agent.spools import SMALL, batches_of
from tests.conftest import ROOT


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


def test_an_emptied_spool_goes_on_and_one_that_lost_all_begins_anew(tmp_path):
    spool = Spool(tmp_path, segment_bytes=SMALL)
    append(spool, 3)
    head = spool.link
    spool.close()
    for segment in tmp_path.glob("*.seg"):
        segment.unlink()
    again = Spool(tmp_path, segment_bytes=SMALL)
    assert again.link == head
    append(again, 1)
    again.close()
    for path in (*tmp_path.glob("*.seg"), tmp_path / "cursors"):
        path.unlink()
    anew = Spool(tmp_path, segment_bytes=SMALL)
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


WRITER = """
import sys
from pathlib import Path
from agent.spool import Spool
from tests.agent.sealing import append
own = Spool(Path(sys.argv[1]), segment_bytes=8192)
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
