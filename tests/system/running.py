"""A real `nightherd up` and what a person does with it, for system tests."""

import base64
import contextlib
import csv
import io
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tests.patience import patient
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a-password-for-tests"


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NIGHTHERD_")}
    kept["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'gen'}"
    return {**kept, **extra}


class RefusedError(Exception):
    """The API refused: status and problem."""

    def __init__(self, status: int, body: bytes, headers) -> None:
        super().__init__(f"{status} {body[:500]!r}")
        self.status, self.body, self.headers = status, body, headers


class Running:
    """One `nightherd up`, until closed."""

    def __init__(
        self, home: Path, *arguments: str, cwd: Path = ROOT, prefix: tuple = (), **extra: str
    ) -> None:
        self.home, self.port = home, free_port()
        self.hurry = home.parent / f"{home.name}.hurry"
        self.hurry.mkdir(exist_ok=True)
        extra["NIGHTHERD_AGENT_WATCH_PATHS"] = json.dumps([str(self.hurry)])
        self.log = home.parent / f"{home.name}.up.log"
        self._out = self.log.open("wb")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "cli", "up", "--port", str(self.port), *arguments],
            env=environment(NIGHTHERD_HOME=str(home), NIGHTHERD_ADMIN_PASSWORD=PASSWORD, **extra),
            stdout=self._out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )

    def until_up(self, timeout_s: float = 120) -> "Running":
        wait(lambda: "Nightherd is up" in self.said() or self.process.poll() is not None, timeout_s)
        assert self.process.poll() is None, self.said()
        return self

    def soon(self, condition, timeout_s: float = 60):
        """Wait for a condition, and make the agent seal at once what it has.

        A change of a file that it was asked to watch is urgent; others wait for up to ten seconds.
        """

        def hurried():
            (self.hurry / "up").write_text("")
            return condition()

        return wait(hurried, timeout_s, 0.3)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def pids(self) -> dict[str, int]:
        return json.loads((self.home / "run" / "pids.json").read_text())

    def ports(self) -> dict[str, int]:
        return json.loads((self.home / "run" / "ports.json").read_text())

    def child(self, name: str) -> int:
        """The pid that runs now (the supervisor restarts what is killed)."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wanted = {
            "mongod": "mongod",
            "gateway": "-m\0gateway",
            "agent": "-m\0agent",
            "enrolment": "-m\0enrolment",
        }.get(name, f"services.{name}")
        for pid in path.read_text().split():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        return 0

    def signal(self, name: str, number: int) -> int:
        """Send a signal to a program, which may be about to be started again; return its pid."""
        pid = wait(lambda: self.child(name))
        os.kill(pid, number)
        return pid

    @contextlib.contextmanager
    def paused(self, name: str):
        """Hold a program still: it takes nothing, and no file of its changes meanwhile."""
        pid = self.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def close(self) -> int:
        """Ctrl-C, as a person would; return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=150)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._out.close()
        return self.process.returncode

    # -- the API ---------------------------------------------------------------------------------

    def open(self, path: str, body: dict | None = None, credentials: str = "", **query):
        url = f"https://localhost:{self.port}/api/v1/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None)
        secret = credentials or f"admin:{PASSWORD}"
        request.add_header("Authorization", "Basic " + base64.b64encode(secret.encode()).decode())
        if body:
            request.add_header("Content-Type", "application/json")
        context = ssl.create_default_context(cafile=str(self.home / "ca" / "ca.pem"))
        try:
            return urllib.request.urlopen(request, timeout=30, context=context)
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, error.read(), error.headers) from None

    def get(self, path: str, **query):
        with self.open(path, **query) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict):
        with self.open(path, body) as answer:
            return json.load(answer)

    def csv(self, path: str, **query) -> list[dict[str, str]]:
        with self.open(path, **query) as answer:
            assert answer.headers["Content-Type"] == "text/csv"
            return list(csv.DictReader(io.StringIO(answer.read().decode(), newline="")))

    def every(self, path: str, **query) -> list[dict]:
        found: list[dict] = []
        while page := self.get(path, limit=250, offset=len(found), **query):
            found += page
        return found

    def host_id(self) -> str:
        return (self.home / "agent" / "host_id").read_text().strip()

    def events(self, **query) -> list[tuple[dict, dict | None]]:
        """Every stored event of this host with its image."""
        return self.events_of(self.host_id(), **query)

    def events_of(self, host: str, **query) -> list[tuple[dict, dict | None]]:
        """Every stored event of a host with its image."""
        found = []
        with self.open("nightherd/batches", host=host, **query) as answer:
            for line in answer:
                batch = json.loads(line)
                for event in batch["events"]:
                    actor = event.get("actor")
                    found.append((event, batch["images"][actor] if actor is not None else None))
        return found

    # -- models ----------------------------------------------------------------------------------

    def model(self, service: str, herd: str = "default") -> dict | None:
        found = self.get("profiles/service", service=service, herd=herd)
        return found[0] if found else None

    def activate(self, service: str, state: str = "manualActive") -> dict:
        """Set a model's state and wait until every detector has it."""
        identifier = service.replace("~", "~0").replace("/", "~1")
        answer = self.post(f"profiles/service/{identifier}/learn", {"state": state})
        wait(
            lambda: (
                (m := self.model(service)) is not None
                and m["revision"] >= answer["revision"]
                and m["appliedEverywhere"]
            )
        )
        return answer


def wait(condition, timeout_s: float = 60, pause_s: float = 0.05):
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + patient(timeout_s)
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time")
        time.sleep(pause_s)
    return value


def a_name() -> str:
    """A user name that nobody has."""
    return f"nh{secrets.token_hex(4)}"


def remove_user(name: str) -> None:
    subprocess.run(["userdel", "-rf", name], capture_output=True, check=False)
    subprocess.run(["groupdel", name], capture_output=True, check=False)


DAEMON = """#!/usr/bin/python3
import os, subprocess, sys
with open(sys.argv[2], "w") as file:
    file.write(str(os.getpid()))
while True:
    with open(sys.argv[1]) as orders:
        for line in orders:
            subprocess.run(line.split(), stdin=subprocess.DEVNULL)
"""


class Daemon:
    """A script outside any session that runs what it is told through a fifo."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.script = folder / name
        self.script.write_text(DAEMON)
        self.script.chmod(0o755)
        self._fifo, pid_file = folder / f"{name}.orders", folder / f"{name}.pid"
        os.mkfifo(self._fifo)
        # setsid -f: forks, begins a session of its own, leaves the child to PID 1.
        subprocess.run(["setsid", "-f", self.script, self._fifo, pid_file], check=True)
        self.pid = int(wait(lambda: pid_file.exists() and pid_file.read_text()))
        self.service = str(self.script)

    def order(self, command: str) -> None:
        with self._fifo.open("w") as orders:
            orders.write(command + "\n")

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


PERSON = """
import os, pty, subprocess, sys, time
uid, terminal, command = sys.argv[1], sys.argv[2] == "tty", sys.argv[3]
os.setsid()
with open("/proc/self/loginuid", "w") as file:
    file.write(uid)
if terminal:
    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["-sh", "-c", command])
    try:
        while os.read(fd, 1024):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)
else:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", command])
    os.waitpid(pid, 0)
time.sleep(0.5)
"""


def as_person(uid: int, command: str, *, terminal: bool) -> None:
    """Run `command` as somebody who logged in (loginuid set), with or without a terminal."""
    subprocess.run(
        ["/usr/bin/python3", "-c", PERSON, str(uid), "tty" if terminal else "none", command],
        check=True,
        timeout=60,
    )
