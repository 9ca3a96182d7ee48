"""Whatever is restarted, each program that ran meanwhile is told, or lies within a gap that is stated."""

import os
import re
import signal

import pytest

from tests.system.marking import Marks, at, gaps
from tests.system.running import RefusedError, Running, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
]
BACKEND = ("store", "modeler", "detector", "gateway", "enrolment", "mongod")
MOST_BLIND_S = 30.0
"""Two seconds where nothing else runs; a machine that runs tests is slower."""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """An installation of our own: what runs in others is not restarted."""
    made = [Running(tmp_path_factory.mktemp("restarts") / "home").until_up()]
    yield made
    made[-1].close()


def healthy(running: Running) -> bool:
    try:
        health = running.get("nightherd/health")
    except (RefusedError, OSError):
        return False
    return all(health[name] == "serving" for name in ("store", "modeler", "detector"))


def test_the_agent_sees_the_others_start(own):
    running = own[0]

    said = running.said()
    assert said.index("starting agent") < said.index("It watches at the level")
    assert said.index("It watches at the level") < said.index("starting mongod")
    modules = {f"services.{name}" for name in ("store", "modeler", "detector")}
    seen = wait(
        lambda: (
            modules
            <= {
                word
                for event, image in running.events()
                if image and "exec" in event
                for word in image["arguments"]
            }
        )
    )
    assert seen


@pytest.mark.parametrize("name", BACKEND)
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_a_restart_in_the_backend_leaves_no_gap(own, name, sign):
    running = own[0]
    before = len(gaps(running))
    with Marks() as marks:
        marks.more()
        pid = running.signal(name, sign)
        wait(lambda: running.child(name) not in (0, pid))
        wait(lambda: healthy(running))
        marks.more()
    told = marks.told(running)
    assert marks.unaccounted(told, []) == []
    assert set(told.values()) == {1}
    assert len(gaps(running)) == before


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_a_restart_of_the_agent_is_a_gap_that_holds_all_that_is_missing(own, sign):
    running = own[0]
    before = {gap["from"] for gap in gaps(running, "agentDown")}
    with Marks() as marks:
        marks.more()
        pid = running.signal("agent", sign)
        wait(lambda: running.child("agent") not in (0, pid))
        fresh = wait(lambda: [g for g in gaps(running, "agentDown") if g["from"] not in before])
        marks.more()
    told = marks.told(running)
    assert len(fresh) == 1
    assert marks.unaccounted(told, fresh) == []
    assert set(told.values()) == {1}
    if sign == signal.SIGTERM:
        assert marks.told_within(told, fresh[0]) == []


def test_a_restart_of_all_is_one_short_gap_that_is_exact(own):
    running = own[0]
    before = {gap["from"] for gap in gaps(running, "agentDown")}
    with Marks() as marks:
        marks.more()
        running.process.send_signal(signal.SIGINT)
        wait(lambda: "stopped enrolment" in running.said())
        running.process.send_signal(signal.SIGINT)  # the impatient change nothing
        assert running.close() == 0
        order = re.findall(r"^stopped (\w+)", running.said(), re.MULTILINE)
        again = Running(running.home)
        own.append(again)
        again.until_up()
        marks.more()
    assert order == ["enrolment", "gateway", "detector", "modeler", "store", "mongod", "agent"]
    told = marks.told(again)
    fresh = [gap for gap in gaps(again, "agentDown") if gap["from"] not in before]
    assert len(fresh) == 1
    blind_s = at(fresh[0]["to"]) - at(fresh[0]["from"])
    print(f"\nblind for {blind_s:.1f} s, {len(marks.spans) - len(told)} programs not seen")
    assert 0 < blind_s < MOST_BLIND_S
    assert marks.unaccounted(told, fresh) == []
    assert marks.told_within(told, fresh[0]) == []
    assert set(told.values()) == {1}
