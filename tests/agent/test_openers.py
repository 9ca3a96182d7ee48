"""Who stands behind a process, by whatever opened its session: real programs, this kernel."""

import contextlib
import os
import pty
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent.logins import UID, session
from tests.agent.sensing import sensing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]
INTERACTIVE, SCRIPTED = events.PROVENANCE_INTERACTIVE, events.PROVENANCE_SCRIPTED
DETACHED, SERVICE = events.PROVENANCE_DETACHED, events.PROVENANCE_SERVICE


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with sensing(tmp_path_factory.mktemp("sensing"), "/nowhere/*") as opened:
        yield opened


@pytest.fixture
def mark():
    """Names one deed among all that this machine does."""
    return f"nh-{secrets.token_hex(6)}"


def installed(program: str, package: str) -> str:
    """Return where a program is; root of a Debian gets it by apt, without starting anything."""
    if not shutil.which(program) and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package]
        subprocess.run(command, env=quiet, capture_output=True, check=False, timeout=300)
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed and cannot be")
    return found


def deeds(host, mark):
    """Images that were executed with the mark as an argument of their own."""
    return [image for image, _ in host.told("exec") if mark.encode() in image.arguments]


def deed(host, mark):
    return host.until(lambda: deeds(host, mark))[0]


def ended(host, image):
    return host.until(
        lambda: [
            event
            for _, event in host.told("session_end")
            if event.session_end.session_id == image.session_id
        ]
    )


def start_of(host, image):
    """All that was told of the session that an image works in; later facts are added."""
    whole = events.SessionStart()
    for _, event in host.told("session_start"):
        if event.session_start.session_id == image.session_id:
            whole.MergeFrom(event.session_start)
    return whole


@contextlib.contextmanager
def at_a_terminal(*command: str):
    """Run a program at a terminal of its own, outside any session; yields what is typed into."""
    pid, screen = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    try:
        yield screen
    finally:
        os.close(screen)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_login_opens_a_persons_session(host, mark):
    program = shutil.which("login")
    if program is None:
        pytest.skip("login is not installed")
    with at_a_terminal(program, "-f", "root") as screen:
        os.write(screen, f"/bin/true {mark}\n".encode())
        image = deed(host, mark)
        assert (image.provenance, image.login_user, image.service) == (INTERACTIVE, "root", "")
        assert image.terminal.startswith("pts/")
        start = start_of(host, image)
        assert (start.opener, start.provenance) == (bytes(Path(program).resolve()), INTERACTIVE)
        os.write(screen, b"exit\n")
        ended(host, image)


@pytest.mark.parametrize("terminal", [True, False])
def test_su_keeps_the_person(host, mark, terminal):
    running = session(f"su root -c '/bin/true {mark}'", terminal=terminal)
    assert running.wait(60) == 0
    image = deed(host, mark)
    assert image.login_user_id == UID
    assert image.provenance == (INTERACTIVE if terminal else SCRIPTED)


def test_su_of_a_service_opens_no_session(host, mark):
    subprocess.run(["setsid", "su", "root", "-s", "/bin/sh", "-c", f"/bin/true {mark}"], check=True)
    image = deed(host, mark)
    assert not image.HasField("login_user_id")
    assert not image.HasField("session_id")
    assert b"/usr/bin/su" in [ancestor.executable for ancestor in host.above(image)]


@pytest.mark.parametrize("program", ["tmux", "screen"])
def test_a_pane_is_the_persons_and_what_outlives_the_session_is_left_behind(host, mark, program):
    installed(program, program)
    name = f"nh{secrets.token_hex(4)}"
    living, later = f"{mark}-living", f"{mark}-later"
    pane = f"/bin/true {living}; while ! [ -e /tmp/{name} ]; do sleep 0.1; done; /bin/true {later}"
    start = {
        "tmux": f"tmux -L {name} -f /dev/null new-session -d '{pane}'",
        "screen": f"screen -c /dev/null -dmS {name} /bin/sh -c '{pane}'",
    }[program]
    person = session(f"{start}; while ! [ -e /tmp/{name}.go ]; do sleep 0.1; done")
    try:
        image = deed(host, living)
        assert (image.provenance, image.login_user_id, image.service) == (INTERACTIVE, UID, "")
        assert image.terminal.startswith("pts/")
        assert program.encode() in b" ".join(a.executable for a in host.above(image))
        Path(f"/tmp/{name}.go").touch()
        assert person.wait(60) == 0
        ended(host, image)
        time.sleep(1.2)  # what outlives its session by less is part of its end
        Path(f"/tmp/{name}").touch()
        image = deed(host, later)
        assert (image.provenance, image.login_user_id) == (DETACHED, UID)
        assert (image.session_id, image.service) == (deed(host, living).session_id, "")
    finally:
        person.kill()
        for left in (f"/tmp/{name}", f"/tmp/{name}.go"):
            Path(left).unlink(missing_ok=True)
        if program == "tmux":
            subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True, check=False)
        else:
            subprocess.run(["screen", "-S", name, "-X", "quit"], capture_output=True, check=False)


@pytest.fixture
def gate(tmp_path):
    """A program that outlives its session: it waits, and goes on when it is let."""
    return Gate(tmp_path)


class Gate:
    def __init__(self, folder) -> None:
        self._ready, self._open = folder / "ready", folder / "open"
        self.wait = f": > {self._ready}; while ! [ -e {self._open} ]; do sleep 0.05; done"
        """In a shell, for what outlives the session."""
        self.until_ready = f"while ! [ -e {self._ready} ]; do sleep 0.05; done"
        """In a shell, for the session: not over before the other runs."""

    def open_after(self, host, image):
        """Let it go on when the session of `image` is told to be over, and some more."""
        ended(host, image)
        time.sleep(1.2)  # what outlives its session by less is part of its end
        self._open.touch()


def test_nohup_is_left_behind(host, mark, gate):
    wait = f"/bin/sh -c '{gate.wait}; exec /bin/true {mark}'"
    person = session(f"nohup {wait} >/dev/null 2>&1 & {gate.until_ready}; /bin/true {mark}-now")
    assert person.wait(60) == 0
    now = deed(host, f"{mark}-now")
    gate.open_after(host, now)
    later = deed(host, mark)
    assert (now.provenance, later.provenance) == (INTERACTIVE, DETACHED)
    assert later.login_user_id == UID
    assert later.session_id == now.session_id


def test_a_daemon_started_by_hand_is_left_behind_and_not_the_services_own(
    host, mark, gate, tmp_path
):
    if not shutil.which("start-stop-daemon"):
        pytest.skip("start-stop-daemon is not installed")
    daemon = tmp_path / f"{mark}d"
    daemon.write_text(f"#!/bin/sh\n{gate.wait}\n/bin/true {mark}\n")
    daemon.chmod(0o755)
    script = Path("/etc/init.d") / mark
    script.write_text(f"#!/bin/sh\nstart-stop-daemon --start --background --exec {daemon}\n")
    script.chmod(0o755)
    try:
        begin = f"{script} start; {gate.until_ready}; /bin/true {mark}-now"
        assert session(begin).wait(60) == 0
        gate.open_after(host, deed(host, f"{mark}-now"))
        by_hand = deed(host, mark)
        subprocess.run(["setsid", str(script), "start"], check=True)
        own = host.until(lambda: deeds(host, mark)[1:])[0]
    finally:
        script.unlink()
    assert (by_hand.provenance, by_hand.login_user_id, by_hand.service) == (DETACHED, UID, "")
    assert own.provenance == SERVICE
    assert own.service == str(daemon)
    assert not own.HasField("login_user_id")


@pytest.fixture
def container(tmp_path):
    """A control group as a container runtime makes it."""
    root, mounted = tmp_path / "cgroup", False
    root.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "cgroup2", "none", str(root)], capture_output=True, check=False
        )
        mounted = made.returncode == 0
        if not mounted:
            pytest.skip("no control groups of version 2 here")
        group = root / f"docker-{secrets.token_hex(32)}.scope"
        group.mkdir()
        yield group
        group.rmdir()
    finally:
        if mounted:
            subprocess.run(["umount", str(root)], check=True)


def test_a_terminal_in_a_container_is_somebodys_whom_nobody_knows(host, mark, container):
    # As `docker exec -it` does it: no login, a terminal, the container's control group.
    script = f"echo $$ > {container}/cgroup.procs; exec /bin/sh -c '/bin/true {mark}; :'"
    with at_a_terminal("/bin/sh", "-c", script):
        image = deed(host, mark)
    assert image.provenance == INTERACTIVE
    assert not image.HasField("login_user_id")
    assert image.login_user == ""
    assert image.container_id == container.name.removeprefix("docker-").removesuffix(".scope")
    assert image.package == ""
    subprocess.run(
        ["setsid", "/bin/sh", "-c", f"echo $$ > {container}/cgroup.procs; /bin/true {mark}-x; :"],
        check=True,
    )
    assert deed(host, f"{mark}-x").provenance == SERVICE


def test_a_job_of_at_is_scheduled(host, mark):
    at = installed("at", "at")
    atd = shutil.which("atd")
    if atd is None:
        pytest.skip("atd is not installed")
    before = subprocess.run(["pgrep", "-x", "atd"], capture_output=True, check=False)
    subprocess.run([at, "now"], input=f"/bin/true {mark}\n", text=True, check=True)
    # Looks at what waits when it starts; one that runs is told by at.
    daemon = subprocess.Popen(["setsid", atd, "-f"]) if before.returncode else None
    try:
        image = deed(host, mark)
    finally:
        if daemon is not None:
            daemon.terminate()
            daemon.wait(60)
    assert image.provenance == events.PROVENANCE_SCHEDULED
    assert image.service.rpartition("/")[2] in ("atd", "atd.service")
    assert image.login_user == pwd.getpwuid(0).pw_name


@pytest.mark.parametrize("written", [4294967295, 0])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_login_uid_written_by_hand_changes_nothing_and_is_told_once(
    host, mark, written, terminal
):
    script = (
        f"/bin/true {mark}-before; echo {written} > /proc/self/loginuid; "
        f"/bin/true {mark}; setsid /bin/sh -c '/bin/true {mark}-apart; :'"
    )
    assert session(script, terminal=terminal).wait(60) == 0
    images = [deed(host, f"{mark}{suffix}") for suffix in ("-before", "", "-apart")]
    assert {image.provenance for image in images} == {INTERACTIVE if terminal else SCRIPTED}
    assert {image.login_user_id for image in images} == {UID}
    assert len({image.session_id for image in images}) == 1
    ended(host, images[0])
    told = [
        (image, event.login_user_change)
        for image, event in host.told("login_user_change")
        if image.session_id == images[0].session_id
    ]
    ((image, change),) = told
    assert image.exec_id == images[0].parent_exec_id
    assert change.previous_login_user_id == UID
    assert change.HasField("login_user_id") == (written == 0)
    assert change.HasField("session_id") == (written == 0)
