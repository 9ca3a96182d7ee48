"""Real sources, watched for what this test's own processes do: other agents may run here too."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.sensors.records import Record, Sensor
from tests.agent.doing import Doing
from tests.patience import patient

DEADLINE_SECONDS = patient(60)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="nhs", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def doing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doing]:
    opened = Doing(tmp_path_factory.mktemp("doing"))
    yield opened
    opened.close()


@pytest.fixture
def host(doing: Doing) -> Doing:
    doing.pipeline.tick()
    doing.made.clear()
    return doing


def drained_until(
    sensors: Sensor | list[Sensor], enough: Callable[[list[Record]], bool]
) -> list[Record]:
    """Drain until the records so far are enough; fails the test when that takes too long."""
    sources = sensors if isinstance(sensors, list) else [sensors]
    records: list[Record] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not enough(records):
        assert time.monotonic() < deadline, records[-20:]
        time.sleep(0.02)
        for sensor in sources:
            records += sensor.drain()
    return records


@pytest.fixture
def until() -> Callable[..., list[Record]]:
    return drained_until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("kernel"):
            item.add_marker(pytest.mark.skip(reason="kernel event sources need root"))
