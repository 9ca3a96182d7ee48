"""What a kernel said while accounts were added, and who stood behind each program that ran.

The captures are outside data, made by another reader of the same tracepoints: it kept neither
POSIX sessions nor links resolved.
"""

import json
import re
from pathlib import Path

import pytest

from agent.names import UserNames
from agent.sensors.records import ProcessRecord
from agent.stages.identify import Identifier
from nightherd.event.v1 import event_pb2 as events
from tests.builders import BOOT

INTERACTIVE, SCRIPTED = events.PROVENANCE_INTERACTIVE, events.PROVENANCE_SCRIPTED
DETACHED, SERVICE = events.PROVENANCE_DETACHED, events.PROVENANCE_SERVICE
DAEMON = "/opt/google_accounts_daemon"


def records(file: Path):
    """Yield the processes of a capture as our sensor would tell them."""
    now = base = 0
    for line in file.read_text().splitlines():
        seen = json.loads(line)
        if seen["src"] != "bpf" or seen["ev"] not in ("fork", "exec", "exit"):
            continue
        base = base or seen["start"] - int(seen["t"] * 1e9)
        now = max(now + 1000, base + int(seen["t"] * 1e9))
        arguments = [argument.encode() for argument in seen.get("argv", [""])[:-1]]
        requested = seen.get("fn", "").encode()
        # Of a script's exec the reader kept the script; what the kernel runs is its interpreter.
        script = requested in arguments[1:]
        executable = arguments[0] if script else requested
        yield ProcessRecord(
            kind=seen["ev"],
            boot_ns=now,
            pid=seen["pid"],
            start_ns=seen["start"],
            ppid=seen["ppid"],
            session_leader=0,
            user_id=seen["uid"],
            effective_user_id=seen["euid"],
            login_user_id=seen["auid"],
            session_id=seen["ses"],
            terminal=seen["tty"].replace("pts", "pts/"),
            exit_status=seen.get("code", 0),
            requested_path=requested,
            executable=re.sub(rb"^/(s?bin)/", rb"/usr/\1/", executable),
            arguments=tuple(arguments),
            arguments_cut=False,
            working_directory=b"/",
            cgroup="",
            exact=True,
        )


@pytest.fixture
def images(shared_data, tmp_path):
    """(program, first argument that tells which) -> image, as it was when the program started.

    What stands above an image is in `images.above`, by its exec_id.
    """

    def replayed(name):
        (tmp_path / "passwd").write_text("root:x:0:0::/:/bin/sh\nalice:x:1001:1001::/:/bin/sh\n")
        identifier = Identifier(BOOT, UserNames(tmp_path / "passwd"))
        found = {}
        for record in records(shared_data / "captures" / f"{name}.jsonl"):
            identifier.begin_tick(0, record.boot_ns)
            if record.kind == "fork":
                identifier.fork(record)
            elif record.kind == "exit":
                identifier.exit(record)
            else:
                ran = identifier.exec(record).ran
                image = ran.image
                replayed.above[image.exec_id] = ran.above or ()
                program = (image.script or image.executable).rpartition(b"/")[2].decode()
                last = image.arguments[-1].decode()
                found.setdefault((program, last), image)
        assert not identifier.book.login_changes
        return found

    replayed.above = {}
    return replayed


def who(image):
    session = image.session_id if image.HasField("session_id") else None
    return image.provenance, image.login_user, session, image.terminal, image.service


def test_who_came_by_ssh_and_ran_adduser(images):
    found = images("ssh_adduser")
    assert who(found["bash", "-bash"]) == (INTERACTIVE, "alice", 3, "pts/1", "")
    assert who(found["sudo", "bob"]) == (INTERACTIVE, "alice", 3, "pts/1", "")
    # sudo gives its command a terminal of its own.
    for program, last in (
        ("adduser", "bob"),
        ("groupadd", "bob"),
        ("useradd", "bob"),
        ("chfn", "bob"),
        ("gpasswd", "users"),
    ):
        assert who(found[program, last]) == (INTERACTIVE, "alice", 3, "pts/2", ""), program
    assert found["adduser", "bob"].script == b"/usr/sbin/adduser"
    assert found["useradd", "bob"].user == "root"
    above = [
        (ancestor.script or ancestor.executable).rpartition(b"/")[2]
        for ancestor in images.above[found["useradd", "bob"].exec_id]
    ]
    assert list(dict.fromkeys(above))[:4] == [b"adduser", b"sudo", b"bash", b"sshd"]


def test_the_ssh_daemon_and_what_runs_beside_it_are_nobodys(images):
    found = images("ssh_adduser")
    daemon = next(image for (program, _), image in found.items() if program == "sshd")
    client = next(image for (program, _), image in found.items() if program == "ssh")
    assert who(daemon)[:4] == (SERVICE, "", None, "")
    # The client was run at a terminal of the recorder, without any login.
    assert who(client) == (INTERACTIVE, "", None, "pts/0", "")
    # Before the person had a terminal, their session was greeted.
    assert who(found["10-uname", "/etc/update-motd.d/10-uname"])[:3] == (SCRIPTED, "alice", 3)


def test_a_daemon_that_adds_accounts_is_a_service_by_its_scripts_name(images):
    found = images("daemon_useradd")
    for program, last in (
        ("google_accounts_daemon", "gceuser"),
        ("useradd", "gceuser"),
        ("gpasswd", "users"),
    ):
        assert who(found[program, last]) == (SERVICE, "", None, "", DAEMON), program


def test_ssh_host_sudo_useradd_is_scripted(images):
    found = images("daemon_useradd")
    for program in ("sudo", "useradd"):
        assert who(found[program, "nhssh"]) == (SCRIPTED, "alice", 4, "", ""), program


def test_a_daemon_that_a_person_started_is_left_behind_once_they_are_gone(images):
    found = images("daemon_useradd")
    assert who(found["google_accounts_daemon", "nhnoh"]) == (SCRIPTED, "alice", 5, "", "")
    assert who(found["useradd", "nhnoh"]) == (DETACHED, "alice", 5, "", "")
