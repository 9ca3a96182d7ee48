"""Accounting for executions, on numbers that are known, and once for real."""

import os
import shutil

import pytest

from benchmarks import executions, files
from benchmarks.live_agent import LiveAgent
from benchmarks.loads import TRUE, Loads, Ran
from nightherd.event.v1 import event_pb2 as events


def image(*arguments: bytes) -> events.Image:
    return events.Image(exec_id=repr(arguments), arguments=[b"true", *arguments])


def told(executed: int, ended: int, lost: int = 0, precision=events.Gap.PRECISION_EXACT):
    ran = [(image(b"tag", b"%d" % n), events.Event(exec=events.Exec())) for n in range(executed)]
    over = [(image(b"tag", b"%d" % n), events.Event(exit=events.Exit())) for n in range(ended)]
    other = [(image(b"other"), events.Event(exec=events.Exec()))]
    gap = events.Event(gap=events.Gap(lost=lost, precision=precision, source="bpf"))
    return [*ran, *over, *other, *([(events.Image(), gap)] if lost else [])]


@pytest.mark.parametrize(
    ("what", "unaccounted"),
    [
        (told(10, 10), 0),
        (told(9, 9), 1),
        (told(9, 9, lost=1), 0),
        (told(10, 8, lost=1), 1),
        (told(11, 11), 1),
        (told(9, 9, lost=5, precision=events.Gap.PRECISION_UNKNOWN), 1),
    ],
)
def test_what_is_neither_told_nor_told_to_be_lost_is_unaccounted(what, unaccounted):
    assert executions.account(what, "tag", Ran(10, 1.0, 0)).unaccounted == unaccounted


def change(number: bytes, actor: events.Image, attribution=events.ATTRIBUTION_EXACT):
    made = events.FileChange.Change(
        path=b"/w/%s.7.0" % number, operation=events.FileChange.OPERATION_CREATED
    )
    return actor, events.Event(
        attribution=attribution, file_change=events.FileChange(changes=[made])
    )


def test_a_change_is_right_only_with_the_actor_its_name_says():
    writer = events.Image(exec_id="x", pid=7, arguments=[b"writer", b"1"])
    found = files.judge(
        [
            change(b"1", writer),
            change(b"1", writer),
            change(b"2", writer),
            change(b"3", events.Image(exec_id="y", pid=8, arguments=[b"writer", b"3"])),
            change(b"4", events.Image()),
            change(
                b"5",
                events.Image(exec_id="z", pid=7, arguments=[b"writer", b"5"]),
                events.ATTRIBUTION_INFERRED,
            ),
        ],
        b"/w/",
        files.Written(6, 1.0, 0.0),
    )
    assert (found.right, found.wrong, found.nobody, found.guessed) == (1, 2, 1, 1)
    assert found.untold == 1


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root")
@pytest.mark.skipif(shutil.which("cc") is None, reason="the load is compiled where it runs")
def test_every_execution_of_a_real_load_is_told_with_its_end(tmp_path):
    loads = Loads(tmp_path)
    with LiveAgent(tmp_path / "agent") as agent:
        agent.settle()
        ran = loads.spawn(50, 1, TRUE, "load-test")
        account = executions.account(agent.settle(), "load-test", ran)
    assert ran.count > 0  # as many as the machine gives
    assert (account.executions, account.exits) == (ran.count, ran.count)
    assert account.unaccounted == 0
