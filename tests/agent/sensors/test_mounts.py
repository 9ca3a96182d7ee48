"""Filesystems mounted over what is watched while it is watched, on this kernel."""

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sensors import OpenSensors
from agent.sensors.fanotify import FanotifySensor
from agent.sensors.inotify import InotifySensor
from agent.sensors.mounts import Mounts
from agent.sensors.records import FileRecord
from agent.sensors.watchlist import WatchList

pytestmark = pytest.mark.kernel
SECOND_NS = 1_000_000_000


@contextmanager
def mounted(*arguments):
    """Mount something; whatever happens, it is gone afterwards."""
    point = str(arguments[-1])
    subprocess.run(["mount", *map(str, arguments)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", point], check=False, capture_output=True)


@pytest.fixture
def place():
    path = Path(tempfile.mkdtemp(prefix="nhm ", dir="/var/tmp"))
    (path / "watched" / "sub").mkdir(parents=True)
    yield path / "watched"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=[FanotifySensor, InotifySensor])
def sensor(request, place):
    watch_list = WatchList([]).with_paths([os.fsencode(place)])
    options = {"own_pid": -1} if request.param is FanotifySensor else {}
    sensor = request.param(watch_list, **options)
    yield sensor
    sensor.close()


def paths(records):
    return {each.path for each in records if isinstance(each, FileRecord)}


def written(sensor, path):
    """Write to `path` until the sensor tells; return what it told until then, nothing if never."""
    deadline, told = time.monotonic() + 60, set()
    while time.monotonic() < deadline:
        path.write_text("x")
        time.sleep(0.05)
        told |= paths(sensor.drain())
        if os.fsencode(path) in told:
            return told
    return set()


def test_a_filesystem_mounted_over_a_watched_folder_is_watched(sensor, place):
    assert written(sensor, place / "before")
    with mounted("-t", "tmpfs", "none", place):
        assert written(sensor, place / "on-it")
        (place / "deep" / "er").mkdir(parents=True)
        assert written(sensor, place / "deep" / "er" / "file")
    # What lay below is seen again, and as nobody changed it, nothing is said about it.
    assert written(sensor, place / "after")
    assert written(sensor, place / "sub" / "after")


def test_mounted_again_and_again_it_is_watched_each_time(sensor, place):
    for number in range(3):
        with mounted("-t", "tmpfs", "none", place / "sub"):
            assert written(sensor, place / "sub" / f"file{number}")


def test_a_mount_claims_no_changes(sensor, place):
    (place / "kept").write_text("x")
    sensor.drain()
    with mounted("-t", "tmpfs", "none", place):
        told = written(sensor, place / "new")
        assert os.fsencode(place / "new") in told
        assert os.fsencode(place / "kept") not in told
    time.sleep(1.1)
    assert os.fsencode(place / "kept") not in paths(sensor.drain())


def test_what_cannot_be_watched_is_told_as_long_as_it_is_so(sensor, place):
    opened = OpenSensors("full", [sensor])
    file, other = place / "file", place / "other"
    for path in (file, other):
        path.write_text("x")

    def said(true):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and true(opened.sentences()) is False:
            sensor.drain()
            time.sleep(0.05)
        return opened.sentences()

    assert opened.sentences() == []
    with mounted("--bind", other, file):
        assert str(file) in said(bool)[0]
        assert "mounted over it" in opened.sentences()[0]
        later = type(sensor)(sensor._watch_list)
        assert list(later.unwatched) == [os.fsencode(file)]
        later.close()
    assert said(lambda sentences: not sentences) == []
    if isinstance(sensor, FanotifySensor):
        with mounted("-t", "proc", "none", place / "sub"):
            assert "no handles" in said(bool)[0]
        assert said(lambda sentences: not sentences) == []


def test_a_mount_is_told_and_a_table_that_stays_is_not(place):
    mounts = Mounts()
    now_ns = 10 * SECOND_NS
    assert mounts.to_look_at(now_ns) == set()
    with mounted("-t", "tmpfs", "none", place):
        # Its name has a space. Others may mount here too.
        assert os.fsencode(place) in mounts.to_look_at(now_ns)
        assert mounts.to_look_at(now_ns + 1) == set()
    # Not read again within a second, and not forgotten either.
    assert mounts.to_look_at(now_ns + 2) == set()
    later = mounts.to_look_at(now_ns + 2 * SECOND_NS)
    assert os.fsencode(place) in later
    assert b"/" not in later
    mounts.close()
    mounts.close()
