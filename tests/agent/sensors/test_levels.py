import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.sensors import open_sensors
from agent.sensors.folders import of_this_host
from agent.sensors.watchlist import load

ROOT = Path(__file__).resolve().parents[3]
TELL = """
import json
from agent.sensors import open_sensors
from agent.sensors.folders import of_this_host
from agent.sensors.watchlist import load
opened = open_sensors("auto", of_this_host(load()))
for sensor in opened.sensors: sensor.drain()
opened.close()
print(json.dumps([opened.level, [each.name for each in opened.sensors], opened.not_seen]))
"""


@pytest.fixture(scope="module")
def watch_list():
    return of_this_host(load())


def told_by(*before, code=TELL):
    done = subprocess.run(
        [*before, sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr
    return json.loads(done.stdout)


@pytest.mark.kernel
def test_root_gets_the_full_level_files_before_processes(watch_list):
    opened = open_sensors("auto", watch_list)
    opened.close()
    opened.close()
    assert opened.level == "full"
    assert [each.name for each in opened.sensors] == ["fanotify", "bpf", "snapshot", "udp", "audit"]
    # What this kernel refuses of what may be refused, and nothing else.
    assert all(each.startswith("Not seen here: ") for each in opened.not_seen)


@pytest.mark.kernel
def test_the_poll_level_can_be_chosen_and_says_what_it_does_not_see(watch_list):
    opened = open_sensors("poll", watch_list)
    opened.close()
    assert opened.level == "poll"
    assert [each.name for each in opened.sensors][:2] == ["inotify", "psutil"]
    assert any("shorter than a second" in each for each in opened.not_seen)


@pytest.mark.kernel
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_without_privileges_it_polls_and_says_why():
    level, names, not_seen = told_by(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("--inh-caps=-all", "--bounding-set=-all"),
    )
    assert (level, names) == ("poll", ["inotify", "psutil"])
    assert any("not permitted (needs root" in each for each in not_seen)
    assert any("audit records" in each for each in not_seen)


@pytest.mark.kernel
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_root_without_the_capabilities_polls_but_hears_audit():
    level, names, not_seen = told_by("setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon")
    assert (level, names) == ("poll", ["inotify", "psutil", "audit"])
    assert any("not permitted" in each for each in not_seen)


@pytest.mark.kernel
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_who_may_not_add_rules_polls_and_says_what_is_missing():
    # As with rules that are locked (-e 2), the kernel answers EPERM.
    level, names, not_seen = told_by(
        "setpriv", "--bounding-set=-audit_control", code=TELL.replace('"auto"', '"audit"')
    )
    assert (level, names) == ("poll", ["inotify", "psutil"])
    assert any(
        "The audit level does not work here" in each and "CAP_AUDIT_CONTROL" in each
        for each in not_seen
    )


@pytest.mark.kernel
def test_without_btf_it_works_at_the_audit_level_and_says_so():
    hide = 'mount -t tmpfs nhs /sys/kernel/btf && exec "$@"'
    level, names, not_seen = told_by("unshare", "-m", "sh", "-c", hide, "sh")
    if level == "poll" and any("task,never" in each for each in not_seen):
        pytest.skip("another agent keeps audit from telling executions")
    assert (level, names) == ("audit", ["fanotify", "audit", "snapshot", "listeners"])
    assert any("no BTF type information" in each for each in not_seen)


@pytest.mark.kernel
def test_without_libbpf_it_does_not_reach_the_full_level_and_names_the_package():
    code = "import agent.sensors.libbpf as libbpf\nlibbpf._SONAMES = ('libnothing.so.9',)\n" + TELL
    level, _, not_seen = told_by(code=code)
    assert level in ("audit", "poll")
    assert any("libbpf1" in each for each in not_seen)


@pytest.mark.kernel
def test_nothing_is_left_behind():
    before = set(Path("/proc/self/fd").iterdir())
    opened = open_sensors("auto", load())
    for sensor in opened.sensors:
        sensor.drain()
    opened.close()
    assert set(Path("/proc/self/fd").iterdir()) <= before  # others may close theirs meanwhile
