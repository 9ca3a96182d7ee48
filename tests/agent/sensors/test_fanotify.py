import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.sensors.bpf import BpfSensor
from agent.sensors.fanotify import FanotifySensor
from agent.sensors.records import FileRecord, LossRecord, ProcessRecord
from agent.sensors.watchlist import Entry, WatchList
from tests.agent.sensors.filesystems import new_filesystem

pytestmark = pytest.mark.kernel
NOBODY = -1
"""An own pid that nobody has: the test's own changes count too."""


def listed(folder, *patterns, structure_only=False):
    paths = tuple(os.fsencode(folder) + b"/" + pattern.encode() for pattern in patterns)
    return WatchList([Entry("test", paths, urgent=True, structure_only=structure_only)])


@pytest.fixture
def watching():
    opened = []

    def watch(watch_list, own_pid=NOBODY):
        opened.append(FanotifySensor(watch_list, own_pid=own_pid))
        return opened[-1]

    yield watch
    for sensor in opened:
        sensor.close()


def changes(records, path=None):
    files = [each for each in records if isinstance(each, FileRecord)]
    return [each for each in files if path is None or each.path == os.fsencode(path)]


def operations(records, path):
    return [each.operation for each in changes(records, path)]


def test_a_file_is_followed_with_who_changed_it(watching, until, folder):
    sensor = watching(listed(folder, "*"))
    name = folder / "f"
    child = subprocess.Popen(["/bin/sh", "-c", f"echo x > {name}; exec chmod 4755 {name}"])
    child.wait()
    records = until(sensor, lambda seen: "attributes" in operations(seen, name))
    assert set(operations(records, name)) == {"created", "modified", "attributes"}
    assert all(each.pid == child.pid and each.exact for each in changes(records, name))
    assert next(e for e in changes(records) if e.operation == "attributes").mode == 0o4755
    name.unlink()
    assert operations(until(sensor, lambda seen: changes(seen, name)), name) == ["deleted"]


def test_a_change_of_owner_tells_mode_owner_and_group(watching, until, folder):
    sensor = watching(listed(folder, "*"))
    name = folder / "f"
    name.touch(0o640)
    sensor.drain()
    os.chown(name, 4711, 4712)
    records = until(sensor, lambda seen: "attributes" in operations(seen, name))
    change = next(each for each in changes(records, name) if each.operation == "attributes")
    assert (change.mode, change.owner_id, change.group_id) == (0o640, 4711, 4712)


def test_a_further_name_of_a_file_is_a_link_and_a_folder_is_not(watching, until, folder):
    sensor = watching(listed(folder, "*"))
    (folder / "f").touch()
    sensor.drain()
    (folder / "g").hardlink_to(folder / "f")
    (folder / "d").mkdir()
    records = until(sensor, lambda seen: changes(seen, folder / "d"))
    assert operations(records, folder / "g") == ["linked"]
    assert operations(records, folder / "d") == ["created"]


def test_a_program_that_appears_with_setuid_says_so(watching, until, folder):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    sensor = watching(listed(folder, "*"))
    os.close(os.open(folder / "made", os.O_CREAT | os.O_WRONLY, 0o4755))
    (elsewhere / "x").touch()
    (elsewhere / "x").chmod(0o2755)
    (elsewhere / "x").replace(folder / "moved")
    records = until(sensor, lambda seen: changes(seen, folder / "moved"))
    assert {each.mode for each in changes(records, folder / "made")} == {0o4755, None}
    assert [each.mode for each in changes(records, folder / "moved")] == [0o2755]


def test_a_rename_into_place_tells_the_old_name_also_of_one_unwatched(watching, until, folder):
    sensor = watching(listed(folder, "passwd"))
    (folder / "passwd+").write_text("x")
    (folder / "passwd+").replace(folder / "passwd")
    records = until(sensor, lambda seen: changes(seen, folder / "passwd"))
    assert changes(records) == [
        FileRecord(
            operation="renamed",
            boot_ns=changes(records)[0].boot_ns,
            pid=os.getpid(),
            path=os.fsencode(folder / "passwd"),
            previous_path=os.fsencode(folder / "passwd+"),
            directory=False,
        )
    ]


def test_a_file_that_comes_from_or_goes_to_anywhere_tells_both_names(watching, until, folder):
    inside, outside = folder / "in", folder / "out"
    inside.mkdir()
    outside.mkdir()
    sensor = watching(listed(inside, "*"))
    (outside / "a").touch()
    (outside / "a").replace(inside / "a")
    (inside / "a").replace(outside / "b")
    records = until(sensor, lambda seen: len(changes(seen)) >= 2)
    came, went = ((each.operation, each.path, each.previous_path) for each in changes(records))
    assert came == ("renamed", bytes(inside / "a"), bytes(outside / "a"))
    assert went == ("renamed", bytes(outside / "b"), bytes(inside / "a"))


def test_a_name_that_is_not_utf8_is_kept(watching, until, folder):
    sensor = watching(listed(folder, "*"))
    name = os.fsencode(folder) + b"/n\xff\n"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    assert changes(until(sensor, lambda seen: changes(seen, name)), name)


def test_a_home_made_with_its_keys_in_one_go_names_who_wrote_them(watching, until, folder):
    sensor = watching(listed(folder, "*/.ssh/**", "*/.bashrc"))
    keys = folder / "new" / ".ssh" / "authorized_keys"
    code = f"mkdir -p {keys.parent}; echo ssh-ed25519 > {keys}; echo : > {folder}/new/.bashrc"
    child = subprocess.Popen(["/bin/sh", "-c", code])
    child.wait()
    records = until(sensor, lambda seen: changes(seen, keys))
    (created,) = changes(records, keys)
    assert (created.operation, created.pid, created.exact) == ("created", child.pid, True)
    assert operations(records, folder / "new" / ".bashrc") == ["created"]
    with keys.open("a") as file:
        file.write("another")
    later = until(sensor, lambda seen: changes(seen, keys))
    assert operations(later, keys) == ["modified"]


def test_a_folder_that_is_moved_in_brings_its_content(watching, until, folder):
    home, made = folder / "home", folder / "made"
    home.mkdir()
    made.mkdir()
    (made / "authorized_keys").touch()
    sensor = watching(listed(home, ".ssh", ".ssh/**"))
    (made).replace(home / ".ssh")
    (home / ".ssh" / "later").touch()
    records = until(sensor, lambda seen: changes(seen, home / ".ssh" / "later"))
    assert operations(records, home / ".ssh") == ["renamed"]
    (key,) = changes(records, home / ".ssh" / "authorized_keys")
    assert (key.operation, key.pid, key.exact) == ("created", os.getpid(), True)


def test_a_watched_folder_that_moves_is_known_by_its_new_name(watching, until, folder):
    (folder / "a" / "b").mkdir(parents=True)
    sensor = watching(listed(folder, "**"))
    (folder / "a").replace(folder / "z")
    (folder / "z" / "b" / "f").touch()
    records = until(sensor, lambda seen: changes(seen, folder / "z" / "b" / "f"))
    assert operations(records, folder / "z") == ["renamed"]


def test_a_folder_made_again_is_watched_again(watching, until, folder):
    sensor = watching(listed(folder, "d/**"))
    for _ in range(2):
        (folder / "d").mkdir()
        sensor.drain()
        (folder / "d" / "f").write_text("x")
        records = until(sensor, lambda seen: "modified" in operations(seen, folder / "d" / "f"))
        assert "created" in operations(records, folder / "d" / "f")
        shutil.rmtree(folder / "d")
        sensor.drain()


def test_logs_may_grow_but_not_shrink_or_vanish_unseen(watching, until, folder):
    log = folder / "auth.log"
    log.write_text("one line\n" * 100)
    sensor = watching(listed(folder, "**", structure_only=True))
    for _ in range(20):
        with log.open("a") as file:
            file.write("another line\n")
    assert not changes(sensor.drain(), log)
    log.write_text("")
    assert operations(until(sensor, lambda seen: changes(seen, log)), log) == ["truncated"]
    log.unlink()
    assert operations(until(sensor, lambda seen: changes(seen, log)), log) == ["deleted"]


def test_only_changes_by_its_own_pid_are_dropped(watching, until, folder):
    sensor = watching(listed(folder, "**"), own_pid=os.getpid())
    (folder / "own").mkdir()
    (folder / "own" / "mine").touch()
    subprocess.run(["/bin/touch", folder / "own" / "other"], check=True)
    records = until(sensor, lambda seen: changes(seen, folder / "own" / "other"))
    assert {each.path for each in changes(records)} == {bytes(folder / "own" / "other")}


def test_another_watch_list_counts_from_then_on(watching, until, folder):
    sensor = watching(listed(folder, "a/*"))
    (folder / "b").mkdir()
    sensor.watch(listed(folder, "b/*"))
    (folder / "b" / "f").touch()
    assert changes(until(sensor, lambda seen: changes(seen, folder / "b" / "f")))


def test_200_writers_that_live_for_a_moment_are_all_known(until, watching, folder):
    files, program = watching(listed(folder, "*")), BpfSensor()
    try:
        code = f"i=0; while [ $i -lt 200 ]; do /bin/touch {folder}/$i; i=$((i+1)); done"
        subprocess.run(["/bin/sh", "-c", code], check=True)
        records = until([files, program], lambda seen: len(changes(seen)) >= 200)
    finally:
        program.close()
    wrote = {
        each.pid: each.arguments[1]
        for each in records
        if isinstance(each, ProcessRecord) and each.kind == "exec" and len(each.arguments) == 2
    }
    seen = {each.path for each in changes(records) if wrote.get(each.pid) == each.path}
    assert seen == {bytes(folder / str(number)) for number in range(200)}


def test_an_overflow_is_told_and_net_changes_are_looked_for(watching, until, folder):
    (folder / "old").touch()
    sensor = watching(listed(folder, "*"))
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    code = (
        "import os,sys\n"
        f"os.chdir({str(folder)!r})\n"
        f"for n in range({limit + 500}): os.mknod('f'); os.rename('f', str(n % 50)+'r')\n"
        "os.unlink('old'); os.mknod('new')\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    records = until(sensor, lambda seen: {"deleted"} <= {*operations(seen, folder / "old")})
    loss = next(each for each in records if isinstance(each, LossRecord))
    assert (loss.source, loss.lost) == ("fanotify", None)
    found = {
        (each.operation, each.path) for each in changes(records) if not each.exact and each.pid == 0
    }
    assert ("deleted", bytes(folder / "old")) in found
    assert ("created", bytes(folder / "new")) in found


def test_closing_leaves_nothing_open(folder):
    before = set(Path("/proc/self/fd").iterdir())
    sensor = FanotifySensor(listed(folder, "**"))
    (folder / "f").touch()
    sensor.drain()
    sensor.close()
    sensor.close()
    assert set(Path("/proc/self/fd").iterdir()) <= before  # others may close theirs meanwhile


def test_a_filesystem_that_is_watched_can_be_unmounted(watching, until, folder, tmp_path):
    subprocess.run(["mount", *new_filesystem(tmp_path / "image"), folder], check=True)
    try:
        sensor = watching(listed(folder, "**"))
        (folder / "d").mkdir()
        (folder / "d" / "f").touch()
        assert changes(until(sensor, lambda seen: changes(seen, folder / "d" / "f")))
    finally:
        subprocess.run(["umount", folder], check=True)
