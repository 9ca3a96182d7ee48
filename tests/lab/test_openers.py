"""Who stands behind a program, whatever started it: every opener of a real systemd host."""

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.lab import legs
from tests.lab.host import Host

pytestmark = pytest.mark.long

DEED = "/usr/local/bin/lab-deed"
# Lives long enough to be seen where processes are only polled.
PROGRAM = "#!/bin/sh\nsleep 3\n"
GETTY = """
import os, pty, sys, time
pid, screen = pty.fork()
if pid == 0:
    os.execv("/sbin/agetty", ["agetty", "-a", "bob", "--noclear", "-", "linux"])
said, until = b"", time.time() + 120
while time.time() < until:
    try:
        said += os.read(screen, 4096)
    except OSError:
        break
    if said.rstrip().endswith(b"$"):
        os.write(screen, sys.argv[1].encode() + b"; exit\\n")
        said = b""
"""
INTERACTIVE, SCRIPTED = events.PROVENANCE_INTERACTIVE, events.PROVENANCE_SCRIPTED
DETACHED, SERVICE = events.PROVENANCE_DETACHED, events.PROVENANCE_SERVICE
SCHEDULED, USER = events.PROVENANCE_SCHEDULED, events.PROVENANCE_USER_SERVICE
Way = events.BornFrom


@dataclass(frozen=True)
class Opener:
    """One way in which a program comes to run, and what is to be told of it."""

    name: str
    act: Callable[[Host, str], object]
    """Runs a command that way."""
    provenance: int
    user: str = "root"
    login_user: str = "alice"
    terminal: bool = False
    address: bool = False
    service: str = ""
    way: int = 0
    """How it was born from alice's session; 0: it is in that session itself, or in none."""


def typed(command: str, *, terminal: bool = True) -> Callable[[Host, str], object]:
    """Alice logs in by ssh and says a command; {} is what is to run."""
    return lambda host, deed: host.login("alice", command.format(deed), terminal=terminal)


def by_root(command: str) -> Callable[[Host, str], object]:
    return lambda host, deed: host.run(command.format(deed), limit_s=300)


def a_file(path: str, content: str, then: str) -> Callable[[Host, str], object]:
    """A unit's file appears; then alice says a command."""

    def act(host: Host, deed: str) -> None:
        host.put(path, content.format(deed))
        host.run("systemctl daemon-reload")
        host.login("alice", then, terminal=True)

    return act


def crontab(host: Host, deed: str) -> None:
    """Alice's own crontab; the line goes with the next."""
    host.login("alice", f"echo '* * * * * {deed}' | crontab -", terminal=True)


def getty(host: Host, deed: str) -> None:
    host.put("/usr/local/lib/lab-getty.py", GETTY)
    host.run(f"systemd-run -q --wait python3 /usr/local/lib/lab-getty.py {shlex.quote(deed)}")


SERVICE_FILE = "[Service]\nType=oneshot\nExecStart={}\n"
PTY = "import pty, sys; pty.spawn(sys.argv[1:])"
LATER = "(sleep 8; {}) >/dev/null 2>&1"
OPENERS = (
    Opener("ssh, terminal", typed("{}"), INTERACTIVE, "alice", terminal=True, address=True),
    Opener("ssh, command", typed("{}", terminal=False), SCRIPTED, "alice", address=True),
    Opener("sudo", typed("sudo {}"), INTERACTIVE, terminal=True, address=True),
    Opener("sudo -i", typed("sudo -i {}"), INTERACTIVE, terminal=True, address=True),
    Opener("sudo, no terminal", typed("sudo {}", terminal=False), SCRIPTED, address=True),
    Opener("su", typed("sudo su bob -c '{}'"), INTERACTIVE, "bob", address=True),
    Opener("su -", typed("sudo su - bob -c '{}'"), INTERACTIVE, "bob", address=True),
    Opener("login on a getty", getty, INTERACTIVE, "bob", "bob", terminal=True),
    Opener(
        "tmux",
        typed("tmux -L x -f /dev/null new-session -d '{}'; sleep 6"),
        INTERACTIVE,
        "alice",
        terminal=True,
        address=True,
    ),
    Opener(
        "screen",
        typed("screen -c /dev/null -dmS x {}; sleep 6"),
        INTERACTIVE,
        "alice",
        terminal=True,
        address=True,
    ),
    Opener("nohup", typed(f"nohup sh -c '{LATER}' & sleep 1"), DETACHED, "alice", address=True),
    Opener(
        "disown",
        typed(f"bash -c '{LATER} & disown'", terminal=False),
        DETACHED,
        "alice",
        address=True,
    ),
    Opener("setsid", typed(f"setsid -f sh -c '{LATER}'"), DETACHED, "alice", address=True),
    Opener(
        "systemd-run --scope",
        typed("sudo systemd-run -q --scope {}"),
        INTERACTIVE,
        terminal=True,
        address=True,
    ),
    Opener(
        "systemd-run",
        typed("sudo systemd-run -q --wait {}"),
        DETACHED,
        login_user="",
        service="transient",
        way=Way.WAY_TRANSIENT_UNIT,
    ),
    Opener(
        "systemd-run --pty",
        typed("sudo systemd-run -q --pty {}"),
        INTERACTIVE,
        login_user="",
        terminal=True,
        service="transient",
        way=Way.WAY_TRANSIENT_UNIT,
    ),
    Opener(
        "systemd-run --user",
        typed("systemd-run -q --user --wait {}"),
        USER,
        "alice",
        service="transient",
        way=Way.WAY_TRANSIENT_UNIT,
    ),
    Opener(
        "systemd-run --user --scope",
        typed("systemd-run -q --user --scope {}"),
        INTERACTIVE,
        "alice",
        terminal=True,
        address=True,
    ),
    Opener(
        "systemd-run --on-active",
        typed("sudo systemd-run -q --on-active=1 --timer-property=AccuracySec=100ms {}"),
        DETACHED,
        login_user="",
        service="transient",
        way=Way.WAY_TIMER,
    ),
    Opener(
        "systemctl start",
        a_file(
            "/etc/systemd/system/lab-x.service", SERVICE_FILE, "sudo systemctl start lab-x.service"
        ),
        SERVICE,
        login_user="",
        service="lab-x.service",
        way=Way.WAY_UNIT,
    ),
    Opener(
        "a timer",
        typed(
            "printf '[Service]\\nType=oneshot\\nExecStart={}\\n' "
            "| sudo tee /etc/systemd/system/lab-t.service; "
            "printf '[Timer]\\nOnActiveSec=1\\nAccuracySec=100ms\\n' "
            "| sudo tee /etc/systemd/system/lab-t.timer; "
            "sudo systemctl daemon-reload; sudo systemctl start lab-t.timer"
        ),
        DETACHED,
        login_user="",
        service="lab-t.service",
        way=Way.WAY_TIMER,
    ),
    Opener(
        "a unit of alice's own manager",
        typed(
            "mkdir -p ~/.config/systemd/user; "
            "printf '[Service]\\nType=oneshot\\nExecStart={}\\n' "
            "> ~/.config/systemd/user/lab-u.service; "
            "systemctl --user daemon-reload; systemctl --user start lab-u.service"
        ),
        USER,
        "alice",
        service="lab-u.service",
        way=Way.WAY_USER_UNIT,
    ),
    Opener(
        "at",
        typed("echo '{}' | at now"),
        DETACHED,
        "alice",
        service="atd.service",
        way=Way.WAY_AT,
    ),
    Opener("crontab", crontab, DETACHED, "alice", service="cron.service", way=Way.WAY_CRON),
    Opener(
        "a terminal of pty.spawn in a service",
        by_root('systemctl restart lab-pty; : "{}"'),
        SERVICE,
        login_user="",
        terminal=True,
        service="lab-pty.service",
    ),
    Opener(
        "a terminal of script in a service",
        by_root('systemctl restart lab-script; : "{}"'),
        SERVICE,
        login_user="",
        terminal=True,
        service="lab-script.service",
    ),
)
POLLED = frozenset(
    {"ssh, terminal", "ssh, command", "sudo", "sudo -i", "sudo, no terminal", "su", "su -"}
    | {"tmux", "screen", "login on a getty", "systemd-run --scope", "systemd-run --user --scope"}
)
"""Of these, the poll level sees all; of who had something started, it sees too little."""


@pytest.fixture(scope="module")
def status(watched, level):
    """What the agent says at this level."""
    watched.host.put(DEED, PROGRAM, mode="0755")
    said = watched.watch(level)
    yield said
    watched.stop()
    watched.host.run(
        "crontab -u alice -r; rm -rf /home/alice/.config/systemd /etc/systemd/system/lab-[xt].*; "
        "systemctl stop lab-t.timer; systemctl daemon-reload || :"
    )


def deed(watched, mark: str) -> events.Image:
    """Return the image that a mark names."""

    def found() -> list[events.Image]:
        return [
            image
            for image, event in watched.told()
            if event.HasField("exec")
            and image.script == DEED.encode()
            and mark.encode() in image.arguments
        ]

    return watched.until(found)[0]


@pytest.mark.parametrize("opener", OPENERS, ids=lambda opener: opener.name)
def test_it_is_known_who_stands_behind(status, level, watched, opener):
    if level == "poll" and opener.name not in POLLED:
        pytest.skip("where processes are only polled, who had one started is not seen")
    mark = f"nh{secrets.token_hex(6)}"
    if "in a service" in opener.name:
        name = opener.service.removesuffix(".service")
        start = {
            "lab-pty": f"/usr/bin/python3 -c '{PTY}' {DEED} {mark}",
            "lab-script": f"/usr/bin/script -qc '{DEED} {mark}' /dev/null",
        }[name]
        unit = f"[Service]\nType=oneshot\nExecStart={start}\n"
        watched.host.put(f"/run/systemd/system/{name}.service", unit)
        watched.host.run("systemctl daemon-reload")
    opener.act(watched.host, f"{DEED} {mark}")
    image = deed(watched, mark)
    assert events.Provenance.Name(image.provenance) == events.Provenance.Name(opener.provenance)
    assert (image.user, image.login_user) == (opener.user, opener.login_user), image
    assert image.service == opener.service, image
    assert bool(image.session_id) == bool(opener.login_user), image
    if opener.terminal:
        assert image.terminal.startswith("pts/"), image
    if opener.address:
        sessions = [
            event.session_start.source_address
            for _, event in watched.told()
            if event.session_start.session_id == image.session_id
        ]
        assert legs.ADDRESS in {image.source_address, *sessions}, (image, sessions)
    if opener.way:
        born = image.born_from
        assert Way.Way.Name(born.way) == Way.Way.Name(opener.way), image
        assert born.login_user == "alice", image
        assert born.session_id, image
        assert born.exec_id, image
        assert born.attribution == events.ATTRIBUTION_INFERRED, image
    else:
        assert not image.HasField("born_from"), image


def test_files_that_come_by_scp_and_sftp_are_whose_session_it_is(status, level, watched):
    if level == "poll":
        pytest.skip("where processes are only polled, who changed a file is guessed")
    name = f"/home/alice/.ssh/nh{secrets.token_hex(6)}"
    # Without a shell between: the subsystem, as sftp and scp ask for it.
    done = watched.host.login("alice", f"/usr/bin/scp -t {name}", terminal=False)
    assert done.returncode in (0, 1), done
    watched.host.login("alice", f"cp /etc/hostname {name}", terminal=False)
    image, _ = watched.until(
        lambda: [
            (image, event)
            for image, event in watched.told()
            if any(change.path == name.encode() for change in event.file_change.changes)
        ]
    )[0]
    assert (image.provenance, image.login_user) == (SCRIPTED, "alice"), image
    watched.host.run(f"rm -f {name}")


def test_what_the_bus_starts_says_who_made_it(status, level, watched):
    if level == "poll":
        pytest.skip("where processes are only polled, who had one started is not seen")
    watched.host.run("systemctl stop systemd-hostnamed")
    watched.host.login("alice", "hostnamectl", terminal=True)

    def found() -> list[events.Image]:
        return [
            image
            for image, event in watched.told()
            if event.HasField("exec") and image.executable.endswith(b"/systemd-hostnamed")
        ]

    image = watched.until(found)[-1]
    assert (image.provenance, image.service) == (SERVICE, "systemd-hostnamed.service"), image
    assert (image.born_from.way, image.born_from.login_user) == (Way.WAY_D_BUS, "alice"), image
