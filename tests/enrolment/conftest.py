"""The real enrolment program over HTTPS, its authority, and hosts whose certificates are over."""

import contextlib
import datetime as dt
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.authority import ask, verified
from chassis.authority import Authority
from chassis.tls import Identity
from tests.ports import free_port
from tests.system.running import ROOT, environment

SIGNING = Ed25519PrivateKey.generate().public_key().public_bytes_raw()


class Enrolment:
    """One running program."""

    def __init__(self, folder: Path, port: int = 0, **settings) -> None:
        self.folder, self.port = folder, port or free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = Authority.open(folder)
        self._settings = {
            "NIGHTHERD_ENROLMENT_DIR": str(folder),
            "NIGHTHERD_ENROLMENT_LISTEN": f"127.0.0.1:{self.port}",
            "NIGHTHERD_ENROLMENT_REQUESTS_PER_MINUTE": "100000",
        } | {f"NIGHTHERD_ENROLMENT_{k.upper()}": str(v) for k, v in settings.items()}
        self.log = folder.parent / "enrolment.log"
        self.process: subprocess.Popen | None = None

    def context(self):
        return verified((self.folder / "ca.pem").read_text())

    def start(self) -> "Enrolment":
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "enrolment"],
                env=environment(**self._settings),
                cwd=ROOT,
                stderr=out,
            )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                ask(self.url, "/v1/authority", self.context())
                return self
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def said(self) -> str:
        return self.log.read_text()

    def token(self, *arguments: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "enrolment", "token", *arguments],
            env=environment(**self._settings),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(line.split() for line in done.stdout.splitlines())

    def host(self, folder: Path, *, ended: dt.timedelta | None = None, **options) -> Identity:
        """Issue a host's identity that ended `ended` ago; None: it has just begun."""
        options.setdefault("host_id", secrets.token_hex(16))
        options.setdefault("herd", "web")
        options.setdefault("signing_key", SIGNING)
        if ended is not None:
            options["now"] = dt.datetime.now(dt.UTC) - dt.timedelta(hours=24) - ended
        self.authority.issue(folder, "host", **options)
        return Identity(folder)


@pytest.fixture(scope="module")
def enrolment(tmp_path_factory):
    program = Enrolment(tmp_path_factory.mktemp("enrolment") / "ca").start()
    yield program
    assert program.stop() == 0, program.said()
    assert "bug" not in program.said()


@pytest.fixture
def an_enrolment(tmp_path):
    """Start programs of the test's own: `an_enrolment(requests_per_minute=3)`."""
    made = []

    def make(**settings) -> Enrolment:
        made.append(Enrolment(tmp_path / "own-ca", **settings).start())
        return made[-1]

    yield make
    for program in made:
        program.stop()
