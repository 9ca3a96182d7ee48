"""A pid that is used again at once: this kernel is made to give the same one to two processes."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent.sensing import sensing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
TRIES = 200


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="nhk", dir="/var/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def twice(first: list[str], second: list[str], between: Callable[[int], object]) -> int:
    """Run two programs one after the other with the same pid; return it.

    `between` is called with the first's pid when it ended.
    """
    before = LAST_PID.read_text()
    try:
        for _ in range(TRIES):
            one = subprocess.Popen(first)
            one.wait()
            between(one.pid)
            LAST_PID.write_text(str(one.pid - 1))
            two = subprocess.Popen(second)
            two.wait()
            if one.pid == two.pid:
                return one.pid
    finally:
        LAST_PID.write_text(before)
    pytest.skip("others on this machine took every pid first")


@pytest.mark.skipif(not LAST_PID.exists(), reason="the kernel lets nobody choose pids")
@pytest.mark.parametrize("between_ticks", [True, False])
def test_a_pid_used_again_is_another_process_and_nothing_is_said_of_the_wrong_one(
    tmp_path, folder, between_ticks
):
    one, two = folder / "one", folder / "two"
    with sensing(tmp_path, f"{folder}/*") as host:
        first, second = ["/usr/bin/touch", str(one)], ["/bin/cp", "/dev/null", str(two)]
        # Either what the first did is known before the second comes, or both come together.
        known = lambda pid: between_ticks and host.until(lambda: ended(host, pid))  # noqa: E731
        pid = twice(first, second, known)
        host.until(lambda: len(ended(host, pid)) >= 2 and done(host, one) and done(host, two))
        # Others on this machine may get the same pid behind them.
        ours = (b"/usr/bin/touch", b"/usr/bin/cp")
        all_ran = [image for image, _ in host.told("exec") if image.pid == pid]
        ran = [image for image in all_ran if image.executable in ours][-2:]
        assert tuple(image.executable for image in ran) == ours
        assert len({image.exec_id for image in ran}) == 2
        for path, image in zip((one, two), ran, strict=True):
            for actor, event in done(host, path):
                if actor.pid != pid:
                    continue  # of a try that got other pids
                if event.attribution == events.ATTRIBUTION_EXACT:
                    assert actor.exec_id == image.exec_id
                else:
                    assert event.attribution == events.ATTRIBUTION_INFERRED
                    assert image.exec_id in event.file_change.candidate_exec_ids
        if between_ticks:
            # It may be what ran before the first program, never what ran with its pid later.
            (event,) = [event for actor, event in done(host, one) if actor.pid == pid]
            assert ran[1].exec_id not in event.file_change.candidate_exec_ids


def ended(host, pid):
    return [event for image, event in host.told("exit") if image.pid == pid]


def done(host, path):
    return [
        (image, event)
        for image, event in host.told("file_change")
        if any(change.path == bytes(path) for change in event.file_change.changes)
    ]
