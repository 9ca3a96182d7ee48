import secrets
import shutil
import subprocess

import pytest

from agent.sensors.bpf import BpfSensor
from agent.sensors.fanotify import FanotifySensor
from agent.sensors.folders import of_this_host
from agent.sensors.records import FileRecord, ProcessRecord
from agent.sensors.watchlist import load

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("useradd") is None, reason="needs useradd"),
]


@pytest.fixture
def user():
    name = f"nh{secrets.token_hex(4)}"
    yield name
    subprocess.run(["userdel", name], check=False, capture_output=True)


def changed_by(records, pid):
    return {each.path for each in records if isinstance(each, FileRecord) and each.pid == pid}


def test_an_account_is_added_by_whom_and_its_unusual_home_is_watched_at_once(folder, user, until):
    files, programs = FanotifySensor(of_this_host(load())), BpfSensor()
    home = folder / "home"
    home.mkdir()
    try:
        adding = subprocess.Popen(["useradd", "-M", "-d", home, user])
        adding.wait()
        records = until(
            [files, programs],
            lambda seen: (
                {b"/etc/passwd", b"/etc/shadow"} <= changed_by(seen, adding.pid)
                and any(isinstance(e, ProcessRecord) and e.pid == adding.pid for e in seen)
            ),
        )
        program = next(
            each
            for each in records
            if isinstance(each, ProcessRecord) and (each.pid, each.kind) == (adding.pid, "exec")
        )
        assert program.executable.endswith(b"/useradd")
        assert user.encode() in program.arguments

        keys = home / ".ssh" / "authorized_keys"
        code = f"mkdir {keys.parent}; echo key > {keys}"
        person = subprocess.Popen(["/bin/sh", "-c", code])
        person.wait()
        until(files, lambda seen: bytes(keys) in changed_by(seen, person.pid))
    finally:
        programs.close()
        files.close()
