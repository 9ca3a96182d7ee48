"""One real `nightherd up` for all system tests, on the real kernel."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import cron
from tests.system.running import Running, a_name, remove_user

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources")


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder of this session's own, short enough for everything."""
    folder = Path(tempfile.mkdtemp(prefix="nhs-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def nightherd(place: Path) -> Iterator[Running]:
    """Everything, running; stopped by Ctrl-C at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the kernel's event sources")
    running = Running(place / "home")
    try:
        yield running.until_up()
    finally:
        status = running.close()
        print(running.said()[-2000:])
        assert status == 0


@pytest.fixture(scope="session", autouse=True)
def by_cron(request: pytest.FixtureRequest, place: Path) -> Iterator[str | None]:
    """An account that cron adds once, seen by `nightherd` where a test of this session needs it."""
    asked = any("nightherd" in item.fixturenames for item in request.session.items)
    if not asked or os.geteuid() != 0:
        yield None
        return
    request.getfixturevalue("nightherd")
    with cron.a_job(place) as account:
        yield account


@pytest.fixture
def user_names() -> Iterator[list[str]]:
    """Names for accounts; whatever was made of them is removed afterwards."""
    names = [a_name() for _ in range(4)]
    yield names
    for name in names:
        remove_user(name)


@pytest.fixture(scope="session")
def person() -> Iterator[tuple[str, int]]:
    """An account of a person who logs in: name and uid."""
    import pwd

    name = a_name()
    subprocess.run(["useradd", "-m", "-s", "/bin/bash", name], check=True)
    try:
        yield name, pwd.getpwnam(name).pw_uid
    finally:
        remove_user(name)
