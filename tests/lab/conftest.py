"""Guests for the tests of this folder: built once a machine, started once a session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import image, legs, recipe
from tests.lab.host import Host
from tests.lab.payload import Payload
from tests.lab.watching import Watched

HERE = Path(__file__).parent
LEVELS = ("full", "audit", "poll")
LIMIT_S = 1800


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab")
    group.addoption("--kernel", choices=list(recipe.KERNELS), help="guests with this kernel only")
    group.addoption(
        "--short", action="store_true", help="the form that continuous integration runs"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    short = metafunc.config.getoption("--short", default=False)
    kernel = metafunc.config.getoption("--kernel", default=None)
    if "kernel" in metafunc.fixturenames:
        kernels = [kernel] if kernel else list(recipe.KERNELS)
        metafunc.parametrize("kernel", kernels, scope="session", ids=lambda each: f"linux-{each}")
    if "level" in metafunc.fixturenames:
        metafunc.parametrize("level", LEVELS[:1] if short else LEVELS, scope="module")
    if "busy" in metafunc.fixturenames:
        busy = [False] if short else [False, True]
        metafunc.parametrize("busy", busy, ids=["idle", "busy"][: len(busy)])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LIMIT_S))
    if config.getoption("--short", default=False):
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


@pytest.fixture(scope="session")
def lab() -> Path:
    """The folder with disks and kernels."""
    try:
        return image.built()
    except image.Unavailable as error:
        pytest.skip(f"no lab on this machine: {error}")


@pytest.fixture(scope="session")
def payload(lab, tmp_path_factory) -> Payload:
    return Payload(tmp_path_factory.mktemp("payload"))


@pytest.fixture(scope="session")
def start(lab, payload) -> Iterator[Callable[..., Host]]:
    """Begins to start a guest; all of them are stopped at the end."""
    started: list[Host] = []

    def begin(kernel: str, name: str = "") -> Host:
        started.append(Host(lab, kernel, payload.image, name))
        return started[-1]

    yield begin
    for host in started:
        host.close()


@pytest.fixture(scope="session")
def host(start, kernel) -> Iterator[Host]:
    """A guest with one kernel, for all tests of that kernel."""
    running = start(kernel)
    yield running.until_up()
    running.close()


@pytest.fixture(scope="session")
def watched(host, authority) -> Watched:
    """The same with the agent installed."""
    agent = Watched(host, authority)
    legs.prepare(host)
    return agent
