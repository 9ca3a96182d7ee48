import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.sensors.inotify import InotifySensor
from agent.sensors.records import FileRecord, LossRecord
from agent.sensors.watchlist import Entry, WatchList


@pytest.fixture
def sensor(folder):
    paths = (bytes(folder / "*"), bytes(folder / "*" / ".ssh" / "**"))
    opened = InotifySensor(WatchList([Entry("test", paths, urgent=True)]))
    yield opened
    opened.close()


def operations(records, path):
    files = [each for each in records if isinstance(each, FileRecord)]
    assert all(each.pid == 0 and not each.exact for each in files)
    return [each.operation for each in files if each.path == os.fsencode(path)]


def test_changes_are_seen_but_not_who_made_them(sensor, until, folder):
    (folder / "f").write_text("x")
    (folder / "f").chmod(0o600)
    (folder / "f").unlink()
    records = until(sensor, lambda seen: "deleted" in operations(seen, folder / "f"))
    assert operations(records, folder / "f") == ["created", "modified", "attributes", "deleted"]


def test_a_rename_tells_the_old_name(sensor, until, folder):
    (folder / "a").touch()
    (folder / "a").replace(folder / "b")
    records = until(sensor, lambda seen: operations(seen, folder / "b"))
    renamed = next(each for each in records if each.operation == "renamed")
    assert renamed.previous_path == bytes(folder / "a")


def test_a_name_that_is_not_utf8_is_kept(sensor, until, folder):
    name = os.fsencode(folder) + b"/n\xff"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    assert until(sensor, lambda seen: operations(seen, name))


def test_what_is_in_a_folder_that_appears_is_found(sensor, until, folder):
    keys = folder / "new" / ".ssh" / "authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.touch()
    assert "created" in operations(until(sensor, lambda seen: operations(seen, keys)), keys)
    keys.write_text("x")
    assert "modified" in operations(until(sensor, lambda seen: operations(seen, keys)), keys)


def test_an_overflow_is_told_and_net_changes_are_looked_for(sensor, until, folder):
    (folder / "old").touch()
    sensor.drain()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    code = f"import os\nos.chdir({str(folder)!r})\nos.mknod('0')\n"
    code += f"for n in range({limit}): os.rename(str(n), str(n+1))\nos.unlink('old')\n"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    records = until(sensor, lambda seen: {"deleted"} <= {*operations(seen, folder / "old")})
    loss = next(each for each in records if isinstance(each, LossRecord))
    assert (loss.source, loss.lost) == ("inotify", None)
    files = [each for each in records if isinstance(each, FileRecord)]
    assert operations(files, folder / "old") == ["deleted"]
    assert "created" in operations(files, folder / str(limit))
