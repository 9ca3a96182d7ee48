"""An overlay, as roots of containers and live images are: watched, or said to be unwatched."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from agent.sensors.fanotify import FanotifySensor
from agent.sensors.records import FileRecord
from agent.sensors.watchlist import Entry, WatchList

pytestmark = pytest.mark.kernel


@pytest.fixture
def overlay():
    place = Path(tempfile.mkdtemp(prefix="nho", dir="/var/tmp"))
    # Of a filesystem of its own: not every one takes an overlay.
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    lower, upper, work, merged = (place / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower / "etc" / "cron.d", upper, work, merged):
        folder.mkdir(parents=True)
    (lower / "etc" / "passwd").write_text("root")
    (lower / "etc" / "cron.d" / "job").write_text("x")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mounting = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, merged], check=False
    )
    try:
        if mounting.returncode:
            pytest.skip("this kernel has no overlays")
        yield merged
    finally:
        subprocess.run(["umount", merged], check=False, capture_output=True)
        subprocess.run(["umount", place], check=False, capture_output=True)
        place.rmdir()


def changed(sensor, path):
    """Drain until a change of `path` is told; returns the records so far, none if it never is."""
    deadline, records = time.monotonic() + 20, []
    while time.monotonic() < deadline:
        records += [each for each in sensor.drain() if isinstance(each, FileRecord)]
        if any(each.path == os.fsencode(path) for each in records):
            return records
        time.sleep(0.05)
    return []


def test_an_overlay_is_watched_also_where_it_was_changed_or_is_said_to_be_unwatched(overlay):
    etc = overlay / "etc"
    paths = (bytes(etc / "passwd"), bytes(etc / "cron.d" / "**"))
    sensor = FanotifySensor(WatchList([Entry("x", paths, urgent=True, inodes=True)]), own_pid=-1)
    try:
        if bytes(overlay) in sensor.unwatched:
            release = tuple(int(part) for part in os.uname().release.split(".")[:2])
            assert release < (6, 6), sensor.unwatched
            return
        assert sensor.unwatched == {}
        # The first change of a folder makes it another one: handles of what lies above.
        with (etc / "passwd").open("a") as file:
            file.write("evil")
        assert changed(sensor, etc / "passwd")
        (etc / "cron.d" / "new").write_text("x")
        assert changed(sensor, etc / "cron.d" / "new")
        (etc / "cron.d" / "job").write_text("y")
        assert changed(sensor, etc / "cron.d" / "job")
        (etc / "cron.d" / "deep").mkdir()
        assert changed(sensor, etc / "cron.d" / "deep")
        (etc / "cron.d" / "deep" / "er").write_text("x")
        assert changed(sensor, etc / "cron.d" / "deep" / "er")
        (etc / "cron.d" / "moved").touch()
        (etc / "cron.d" / "moved").replace(etc / "cron.d" / "job")
        assert changed(sensor, etc / "cron.d" / "job")
    finally:
        sensor.close()
