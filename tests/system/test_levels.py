"""What an agent without the kernel's sources sees, and that it says what it does not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.running import Running, a_name, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("setpriv") is None,
        reason="needs root, to start something without a root's capabilities",
    ),
]


@pytest.fixture(scope="module")
def powerless(place):
    """Everything, started by somebody without capabilities."""
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    running = Running(place / "powerless", prefix=without)
    yield running.until_up()
    running.close()


def test_without_capabilities_it_polls_and_says_what_it_cannot_see(powerless):
    host = wait(lambda: powerless.get("nightherd/hosts"))[0]
    assert host["level"] == "poll"
    assert host["notSeen"]
    assert "level poll" in powerless.said()
    assert "not seen:" in powerless.said()


def test_polling_sees_a_changed_file_and_a_process_that_stays(powerless):
    mark = a_name()
    sleeper = subprocess.Popen(["/bin/sleep", "60"])
    path = f"/etc/cron.d/{mark}"
    try:
        subprocess.run(["/bin/sh", "-c", f"echo '# {mark}' > {path}; sleep 1.5"], check=True)
        found = wait(lambda: powerless.get("forensic/activities", search=path))
        assert found[0]["type"] == "cron modified"
        assert found[0]["attribution"] in ("inferred", "unknown")
        powerless.soon(
            lambda: any(image and image["pid"] == sleeper.pid for _, image in powerless.events())
        )
    finally:
        sleeper.kill()
        sleeper.wait()
        Path(path).unlink()
