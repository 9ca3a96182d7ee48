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
from agent.sensors.records import FileRecord, MountRecord
from agent.sensors.watchlist import WatchList
from tests.agent.sensors.filesystems import TMPFS_HAS_AN_ID, new_filesystem

pytestmark = pytest.mark.kernel


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
    with mounted(*new_filesystem(place.parent / "image"), place):
        assert written(sensor, place / "on-it")
        (place / "deep" / "er").mkdir(parents=True)
        assert written(sensor, place / "deep" / "er" / "file")
    # What lay below is seen again, and as nobody changed it, nothing is said about it.
    assert written(sensor, place / "after")
    assert written(sensor, place / "sub" / "after")


def test_mounted_again_and_again_it_is_watched_each_time(sensor, place):
    for number in range(3):
        with mounted(*new_filesystem(place.parent / "image"), place / "sub"):
            assert written(sensor, place / "sub" / f"file{number}")


def told_by(sensor, enough):
    """Drain until the records so far are enough."""
    deadline, records = time.monotonic() + 60, []
    while not enough(records):
        assert time.monotonic() < deadline, records
        time.sleep(0.05)
        records += sensor.drain()
    return records


def mounts(records):
    return [each for each in records if isinstance(each, MountRecord)]


def net(records):
    files = [each for each in records if isinstance(each, FileRecord) and not each.exact]
    assert all(each.pid == 0 for each in files)
    return {(each.operation, each.path) for each in files}


def test_a_mount_is_told_with_what_it_shows_and_hides(sensor, place):
    (place / "kept").write_text("x")
    (place / "both").write_text("x")
    shown = place.parent / "shown"
    shown.mkdir()
    (shown / "both").write_text("y")
    (shown / "evil").write_text("y")
    sensor.drain()
    with mounted("--bind", shown, place):
        records = told_by(sensor, mounts)
        (mount,) = mounts(records)
        assert (mount.operation, mount.target, mount.pid) == ("mounted", bytes(place), 0)
        assert mount.source.endswith(bytes(shown)[len("/var/tmp") :])
        changed = {
            ("created", bytes(place / "evil")),
            ("modified", bytes(place / "both")),
            ("deleted", bytes(place / "kept")),
        }
        assert net(records) >= changed
        assert set(mount.watched) >= {path for _, path in changed}
        assert written(sensor, place / "new")
    records = told_by(sensor, mounts)
    assert [each.operation for each in mounts(records)] == ["unmounted"]
    assert ("created", bytes(place / "kept")) in net(records)
    assert ("deleted", bytes(place / "evil")) in net(records)


def test_the_same_folder_mounted_over_itself_changes_nothing(sensor, place):
    (place / "kept").write_text("x")
    sensor.drain()
    with mounted("--bind", place, place):
        records = told_by(sensor, mounts)
        assert net(records) == set()
        assert mounts(records)[0].watched == ()
        assert written(sensor, place / "kept")


def test_a_mount_where_nothing_is_watched_is_not_told(sensor, place):
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    with mounted("-t", "tmpfs", "none", elsewhere):
        time.sleep(0.3)
        assert mounts(sensor.drain()) == []


def test_a_file_bound_over_a_watched_one_is_watched(place):
    file, other = place / "file", place.parent / "other"
    for path in (file, other):
        path.write_text(path.name)
    sensor = FanotifySensor(WatchList([]).with_paths([os.fsencode(place)]), own_pid=-1)
    try:
        with mounted("--bind", other, file):
            records = told_by(sensor, mounts)
            assert ("modified", bytes(file)) in net(records)
            assert mounts(records)[0].target == bytes(file)
            assert sensor.unwatched == {}
            other.write_text("again")
            (change, *_) = told_by(sensor, lambda seen: bytes(file) in paths(seen))
            assert (change.path, change.used_path) == (bytes(file), bytes(other))
            assert change.pid == os.getpid()
        records = told_by(sensor, mounts)
        assert ("modified", bytes(file)) in net(records)
        other.write_text("of no interest now")
        file.write_text("but this is")
        records = told_by(sensor, lambda seen: bytes(file) in paths(seen))
        assert {each.used_path for each in records} == {b""}
    finally:
        sensor.close()


def test_a_watched_file_that_is_bound_elsewhere_is_watched_there(place):
    file, other = place / "file", place.parent / "other"
    for path in (file, other):
        path.write_text(path.name)
    sensor = FanotifySensor(WatchList([]).with_paths([os.fsencode(place)]), own_pid=-1)
    try:
        with mounted("--bind", file, other):
            other.write_text("x")
            told_by(sensor, lambda seen: bytes(file) in paths(seen))
    finally:
        sensor.close()


def test_what_cannot_be_watched_is_told_as_long_as_it_is_so(place):
    sensor = InotifySensor(WatchList([]).with_paths([os.fsencode(place)]))
    opened = OpenSensors("poll", [sensor])
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
        later = InotifySensor(sensor._watch_list)
        assert list(later.unwatched) == [os.fsencode(file)]
        later.close()
    assert said(lambda sentences: not sentences) == []
    sensor.close()


def test_a_filesystem_that_events_cannot_name_is_said_to_be_unwatched(place):
    sensor = FanotifySensor(WatchList([]).with_paths([os.fsencode(place)]), own_pid=-1)
    try:
        with mounted("-t", "tmpfs", "none", place):
            told_by(sensor, mounts)
            assert (bytes(place) in sensor.unwatched) is not TMPFS_HAS_AN_ID
        told_by(sensor, mounts)
        assert sensor.unwatched == {}
        assert written(sensor, place / "after")
    finally:
        sensor.close()


def test_a_mount_is_told_and_a_table_that_stays_is_not(place):
    mounts = Mounts()

    def looked():
        time.sleep(0.5)
        return mounts.look()

    mounts.look()
    with mounted("-t", "tmpfs", "none", place):
        # Its name has a space. Others may mount here too.
        came = next(m for m in looked().came if m.point == os.fsencode(place))
        assert (came.file_system, came.source, came.root) == (b"tmpfs", b"none", b"/")
        again = mounts.look()
        assert again is None or came not in again.came
    changes = looked()
    assert os.fsencode(place) in {mount.point for mount in changes.went}
    assert b"/" not in changes.stayed
    mounts.close()
    mounts.close()
