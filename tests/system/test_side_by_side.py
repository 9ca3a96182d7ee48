"""Homes anywhere, two at once, one at a time each; what prevents a start is said in one line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.system.running import PASSWORD, ROOT, Running, environment, wait

pytestmark = [pytest.mark.system]


def cli(*arguments: str, timeout_s: float = 90, **extra: str) -> subprocess.CompletedProcess:
    """Run one command of the command line."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=environment(**extra),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def started(tmp_path):
    made: list[Running] = []

    def start(home: Path, *arguments: str, **extra: str) -> Running:
        running = Running(home, *arguments, **extra)
        made.append(running)
        return running

    yield start
    for running in made:
        running.close()


def test_two_run_side_by_side_in_odd_places(tmp_path, started):
    spaced = tmp_path / "a home with späces"
    long = tmp_path / ("x" * (120 - len(str(tmp_path)) - 1))
    if len(str(long)) < 120:
        long = tmp_path / ("x" * 120)
    first, second = started(spaced, "--no-agent"), started(long, "--no-agent")
    first.until_up()
    second.until_up()
    assert not set(first.ports().values()) & set(second.ports().values())
    for running in (first, second):
        assert running.get("nightherd/hosts") == []
        assert running.home.stat().st_mode & 0o077 in (0, 0o011)
        assert (running.home / "ca").stat().st_mode & 0o777 == 0o700
        assert (running.home / "admin-password").stat().st_mode & 0o777 == 0o600
    # The same home again is refused, and what runs is left alone.
    again = cli("up", "--no-agent", "--port", str(free_port()), "--home", str(spaced))
    assert again.returncode == 1
    assert "another `nightherd up` uses" in again.stderr
    assert "Traceback" not in again.stderr
    # A port that is taken is said before anything starts.
    taken = cli("up", "--no-agent", "--port", str(first.port), "--home", str(tmp_path / "third"))
    assert (taken.returncode, taken.stdout) == (1, "")
    assert f"port {first.port} of 127.0.0.1 is in use" in taken.stderr
    assert first.get("version") == second.get("version")
    ports = first.ports()
    assert first.close() == 0
    assert "stopping" in first.said()
    # Ports and data are there again at the next start; one's end does not touch the other.
    third = started(spaced, "--no-agent").until_up()
    assert third.ports() == ports
    assert second.get("nightherd/hosts") == []


def test_killed_children_come_back_and_a_killed_supervisor_leaves_nobody(tmp_path, started):
    running = started(tmp_path / "home", "--no-agent").until_up()
    for name in ("mongod", "store", "modeler", "detector", "gateway", "enrolment"):
        before = running.signal(name, signal.SIGKILL)
        wait(lambda name=name, before=before: running.child(name) not in (0, before))
    wait(lambda: answers(running))
    children = [running.child(name) for name in running.pids()]
    running.signal("modeler", signal.SIGSTOP)
    running.process.kill()
    running.process.wait()
    # The next start ends what is left, even one that cannot hear.
    again = started(tmp_path / "home", "--no-agent").until_up()
    assert not any(alive(pid) for pid in children)
    assert again.get("nightherd/hosts") == []


def answers(running: Running) -> bool:
    from tests.system.running import RefusedError

    try:
        return running.get("nightherd/hosts") == []
    except (RefusedError, OSError):
        return False


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_wrong_setting_is_said_and_nothing_is_left_running(tmp_path):
    done = cli(
        "up",
        *("--no-agent", "--port", str(free_port()), "--home", str(tmp_path / "home")),
        NIGHTHERD_MODELER_UNIT_SECONDS="many",
    )
    assert done.returncode in (1, 2)
    assert "NIGHTHERD_MODELER_UNIT_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr


def test_questions_from_a_terminal(tmp_path, started):
    running = started(tmp_path / "home", "--no-agent").until_up()
    own = {"NIGHTHERD_HOME": str(running.home)}
    hosts = cli("hosts", "-o", "json", **own)
    assert (hosts.returncode, hosts.stdout) == (0, "")
    assert cli("alerts", **own).returncode == 0
    header = cli("activities", "-o", "csv", **own).stdout
    assert header.strip().split(",")[0] == "time"
    status = cli("status", **own)
    assert status.returncode == 0
    assert status.stdout.count(" running") == 6
    wrong = cli("hosts", **own, NIGHTHERD_ADMIN_PASSWORD="wrong")
    assert (wrong.returncode, wrong.stdout) == (4, "")
    assert "401" in wrong.stderr
    doctor = cli("doctor", **own)
    assert doctor.returncode == 0
    assert "MongoDB" in doctor.stdout
    assert json.loads((running.home / "run" / "ports.json").read_text()) == running.ports()
    assert (running.home / "admin-password").read_text().strip() == PASSWORD
    running.close()
    gone = cli("hosts", **own)
    assert gone.returncode == 4
    assert "does not answer" in gone.stderr
