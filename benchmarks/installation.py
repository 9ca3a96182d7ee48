"""A whole Nightherd on this machine, asked over REST: one that runs, or one of our own."""

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.live_agent import ROOT
from benchmarks.results import CannotRun
from cli.homes import Home
from cli.password import admin_password
from cli.ports import free_port, known_port

_START_S = 600.0
_STOP_S = 150.0
_ANSWER_S = 60.0


class Questions:
    """Asks one gateway over one connection.

    Raises:
        CannotRun: Nobody answers, or not as expected.
    """

    def __init__(self, home: Home) -> None:
        context = ssl.create_default_context(cafile=str(home.ca / "ca.pem"))
        self._connection = http.client.HTTPSConnection(
            "localhost", known_port(home), timeout=_ANSWER_S, context=context
        )
        token = base64.b64encode(f"admin:{admin_password(home)}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def get(self, path: str, **query: Any) -> Any:
        """Return the answer to a question below /api/v1."""
        try:
            self._connection.request(
                "GET", f"/api/v1/{path}?{urlencode(query)}", headers=self._headers
            )
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CannotRun(f"the gateway does not answer: {error}") from error
        if answer.status != http.HTTPStatus.OK:
            raise CannotRun(f"the gateway answers {answer.status} {content[:200]!r}")
        return json.loads(content)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def installation(running: Path | None) -> Iterator[Questions]:
    """Ask the one that runs from a home; None: one that is started here and removed afterwards.

    Raises:
        CannotRun: It does not start.
    """
    with _up() if running is None else nullcontext(running) as path:
        home = Home(path.absolute())
        if not (home.ca / "ca.pem").exists():
            raise CannotRun(f"nothing ever ran from {home.path}")
        with closing(Questions(home)) as questions:
            yield questions


@contextmanager
def _up() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nhb-"))
    home, log = folder / "home", folder / "log"
    own = {k: v for k, v in os.environ.items() if not k.startswith("NIGHTHERD_")}
    own |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "NIGHTHERD_HOME": str(home)}
    command = [sys.executable, "-m", "cli", "up", "--port", str(free_port())]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=own, cwd=ROOT, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _START_S
        while "Nightherd is up" not in (text := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"`nightherd up` does not start here: {text[-1000:]}")
            time.sleep(0.2)
        yield home
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
