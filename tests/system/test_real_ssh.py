"""The same through a real sshd: who logged in is told, with a terminal and without."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.system import sshd
from tests.system.running import wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
]

ACCOUNT_FILES = {"/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/shadow-"}


@pytest.fixture(scope="module")
def open_place():
    """A folder that the person may enter."""
    folder = Path(tempfile.mkdtemp(prefix="nhssh-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(open_place, person):
    if not sshd.installed():
        pytest.skip("openssh-server is not installed and cannot be")
    running = sshd.Sshd(open_place / "sshd", person[0])
    yield running
    running.close()


@pytest.fixture(scope="module")
def as_root(open_place, person):
    """What sudo is elsewhere: a program that only this person may run, and that makes root."""
    program = open_place / "as-root"
    shutil.copy("/usr/bin/setpriv", program)
    os.chown(program, 0, pwd.getpwnam(person[0]).pw_gid)
    program.chmod(0o4710)
    return f"{program} --reuid=0 --regid=0 --clear-groups"


@pytest.mark.parametrize("terminal", [True, False], ids=["ssh -tt", "ssh host command"])
def test_who_comes_by_ssh_and_adds_an_account_is_named(
    nightherd, server, as_root, person, user_names, terminal
):
    account, (name, _) = user_names[0], person
    server.run(f"{as_root} /usr/sbin/useradd -M {account}", terminal=terminal)
    assert pwd.getpwnam(account)
    alert = wait(lambda: nightherd.get("audits/runtime/host", search=account))
    assert len(alert) == 1
    alert = alert[0]
    activity = wait(
        lambda: [
            a
            for a in nightherd.get("forensic/activities", search=account, type="accounts modified")
            if set(a["modifiedFiles"]) >= ACCOUNT_FILES
        ]
    )
    assert len(activity) == 1
    activity = activity[0]
    for found in (activity, alert):
        assert (found["user"], found["interactive"]) == (name, True)
        assert found["provenance"] == ("interactive" if terminal else "scripted")
        assert bool(found.get("terminal")) == terminal
        assert found["effectiveUser"] == "root"
        assert found["sourceAddress"] == "127.0.0.1"
    assert (alert["count"], alert["accounts"]) == (1, [account])
    assert "sshd" in "".join(activity["ancestors"])
    assert activity.get("service", "") == ""
    for path, key, value in (
        ("forensic/activities", "id", activity["id"]),
        ("audits/runtime/host", "_id", alert["_id"]),
    ):
        rows = [row for row in nightherd.csv(f"{path}/download") if row[key] == value]
        assert [(row["user"], row["interactive"]) for row in rows] == [(name, "true")]
    assert wait(lambda: nightherd.get("forensic/activities", type="login", user=name))
    starts = [event["sessionStart"] for event, _ in nightherd.events() if "sessionStart" in event]
    assert "127.0.0.1" in [
        start.get("sourceAddress")
        for start in starts
        if start["sessionId"] == str(activity["sessionID"])
    ]
