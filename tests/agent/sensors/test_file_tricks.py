"""Changes of watched files that go by other names than the watched ones, each done for real."""

import os
import subprocess
import time
from contextlib import contextmanager

import pytest

from agent.sensors.fanotify import FanotifySensor
from agent.sensors.records import FileRecord, LossRecord, ReadRecord
from agent.sensors.watchlist import Entry, WatchList

pytestmark = pytest.mark.kernel


def listed(folder, *patterns, secrets=(), **options):
    paths = tuple(os.fsencode(folder) + b"/" + pattern.encode() for pattern in patterns)
    kept = tuple(os.fsencode(folder) + b"/" + pattern.encode() for pattern in secrets)
    entries = [Entry("test", paths, urgent=True, **options)]
    return WatchList(entries, secrets=[Entry("a secret", kept, urgent=False)] if kept else ())


@contextmanager
def watching(watch_list, own_pid=-1):
    sensor = FanotifySensor(watch_list, own_pid=own_pid)
    try:
        yield sensor
    finally:
        sensor.close()


def changes(records, path=None):
    files = [each for each in records if isinstance(each, FileRecord)]
    return [each for each in files if path is None or each.path == os.fsencode(path)]


def operations(records, path):
    return {each.operation for each in changes(records, path)}


def test_a_write_through_a_hard_link_is_a_change_of_the_watched_name(folder, until):
    passwd, link = folder / "etc" / "passwd", folder / "elsewhere" / "x"
    for path in (passwd, link):
        path.parent.mkdir()
    passwd.write_text("root")
    with watching(listed(folder, "etc/passwd", inodes=True)) as sensor:
        link.hardlink_to(passwd)
        sensor.drain()
        child = subprocess.Popen(["/bin/sh", "-c", f"echo evil >> {link}; chmod 666 {link}"])
        child.wait()
        records = until(sensor, lambda seen: "attributes" in operations(seen, passwd))
        of_child = [each for each in changes(records, passwd) if each.pid == child.pid]
        assert {each.operation for each in of_child} == {"modified"}
        assert {each.used_path for each in changes(records, passwd)} == {bytes(link)}
        assert {each.mode for each in changes(records, passwd)} == {None, 0o666}


def test_the_mark_follows_a_file_that_is_replaced(folder, until):
    passwd, link = folder / "etc" / "passwd", folder / "elsewhere" / "x"
    for path in (passwd, link):
        path.parent.mkdir()
    passwd.write_text("root")
    with watching(listed(folder, "etc/passwd", inodes=True)) as sensor:
        link.hardlink_to(passwd)
        (passwd.parent / "passwd+").write_text("root2")
        (passwd.parent / "passwd+").replace(passwd)
        assert operations(until(sensor, lambda seen: changes(seen, passwd)), passwd) >= {"renamed"}
        link.write_text("of the old one")
        time.sleep(0.1)
        assert changes(sensor.drain()) == []
        link.unlink()
        link.hardlink_to(passwd)
        link.write_text("of the new one")
        records = until(sensor, lambda seen: "modified" in operations(seen, passwd))
        assert bytes(link) in {each.used_path for each in changes(records, passwd)}


def test_a_file_that_only_now_comes_to_be_is_marked_too(folder, until):
    rule, link = folder / "sudoers.d" / "x", folder / "y"
    rule.parent.mkdir()
    with watching(listed(folder, "sudoers.d/**", inodes=True)) as sensor:
        rule.write_text("x")
        until(sensor, lambda seen: changes(seen, rule))
        link.hardlink_to(rule)
        link.write_text("evil")
        records = until(sensor, lambda seen: any(each.used_path for each in changes(seen, rule)))
        assert "modified" in operations(records, rule)


def test_a_file_that_a_link_leads_to_is_watched_there(folder, until):
    job, real = folder / "cron.d" / "job", folder / "elsewhere" / "script"
    for path in (job, real):
        path.parent.mkdir()
    real.write_text("x")
    job.symlink_to(real)
    with watching(listed(folder, "cron.d/**", inodes=True)) as sensor:
        real.write_text("evil")
        (change, *_) = changes(until(sensor, changes))
        assert (change.operation, change.path) == ("modified", bytes(job))
        assert change.used_path == bytes(real)
        other = folder / "other"
        other.write_text("y")
        other.replace(real)
        assert "renamed" in operations(until(sensor, lambda seen: changes(seen, job)), job)
        real.write_text("again")
        assert "modified" in operations(until(sensor, lambda seen: changes(seen, job)), job)


def test_a_watched_folder_that_becomes_a_link_is_told_with_what_it_shows(folder, until):
    weekly, evil = folder / "etc" / "cron.weekly", folder / "evil"
    for path in (weekly, evil):
        path.mkdir(parents=True)
    (weekly / "job").write_text("x")
    (evil / "job2").write_text("x")
    with watching(listed(folder, "etc/cron.weekly/**")) as sensor:
        code = f"mv {weekly} {folder}/away; ln -s {evil} {weekly}"
        subprocess.run(["/bin/sh", "-c", code], check=True)
        records = until(sensor, lambda seen: changes(seen, weekly / "job2"))
        assert operations(records, weekly) == {"created"}
        away = changes(records, folder / "away")
        assert [(each.operation, each.previous_path) for each in away] == [
            ("renamed", bytes(weekly))
        ]
        (shown,) = changes(records, weekly / "job2")
        assert (shown.operation, shown.used_path) == ("created", bytes(evil / "job2"))
        (evil / "job2").write_text("more evil")
        (evil / "job3").write_text("new")
        records = until(sensor, lambda seen: changes(seen, weekly / "job3"))
        assert "modified" in operations(records, weekly / "job2")
        # It leads elsewhere: what it led to is of no interest any more.
        other = folder / "other"
        other.mkdir()
        (other / "job4").write_text("x")
        weekly.unlink()
        weekly.symlink_to(other)
        records = until(sensor, lambda seen: changes(seen, weekly / "job4"))
        assert {"deleted", "created"} <= operations(records, weekly)
        (evil / "job5").touch()
        (other / "job6").touch()
        records = until(sensor, lambda seen: changes(seen, weekly / "job6"))
        assert changes(records, weekly / "job5") == []


def test_a_link_to_a_folder_that_only_comes_to_be_later(folder, until):
    weekly, evil = folder / "cron.weekly", folder / "later" / "evil"
    with watching(listed(folder, "cron.weekly/**")) as sensor:
        weekly.symlink_to(evil)
        until(sensor, lambda seen: changes(seen, weekly))
        evil.mkdir(parents=True)
        (evil / "job").write_text("x")
        until(sensor, lambda seen: changes(seen, weekly / "job"))


def test_a_link_on_the_way_of_a_link_that_changes_is_noticed(folder, until):
    weekly, way = folder / "cron.weekly", folder / "way"
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / f"job-{name}").touch()
    way.symlink_to(folder / "one")
    weekly.symlink_to(way)
    with watching(listed(folder, "cron.weekly/**")) as sensor:
        way.unlink()
        way.symlink_to(folder / "two")
        until(sensor, lambda seen: changes(seen, weekly / "job-two"))
        (folder / "two" / "job-three").touch()
        until(sensor, lambda seen: changes(seen, weekly / "job-three"))


def test_a_link_to_everything_is_not_followed_and_said_so(folder, until):
    keys = folder / ".ssh"
    with watching(listed(folder, ".ssh/**")) as sensor:
        keys.symlink_to("/")
        until(sensor, lambda seen: changes(seen, keys))
        sensor.drain()
        assert "too wide" in sensor.unwatched[bytes(keys)]


def test_the_folder_itself_is_watched(folder, until):
    weekly = folder / "cron.weekly"
    weekly.mkdir()
    with watching(listed(folder, "cron.weekly/**")) as sensor:
        weekly.chmod(0o777)
        (change,) = changes(until(sensor, changes))
        assert (change.operation, change.path, change.mode) == ("attributes", bytes(weekly), 0o777)
        assert change.directory
        weekly.rmdir()
        weekly.mkdir()
        records = until(sensor, lambda seen: len(changes(seen)) > 1)
        assert operations(records, weekly) == {"deleted", "created"}


def test_a_folder_above_that_goes_takes_watched_names_with_it(folder, until):
    unit = folder / ".config" / "systemd" / "x.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    with watching(listed(folder, ".config/systemd/*")) as sensor:
        (folder / ".config").replace(folder / "gone")
        records = until(sensor, changes)
        assert operations(records, unit) == {"deleted"}
        (folder / "gone").replace(folder / ".config")
        records = until(sensor, changes)
        assert operations(records, unit) == {"created"}


def test_a_mode_that_was_gone_when_it_was_read_is_not_made_up(folder, until):
    file = folder / "f"
    with watching(listed(folder, "*")) as sensor:
        for _ in range(20):
            file.touch()
            file.chmod(0o4755)
            file.unlink()
            file.touch(0o600)
        records = until(sensor, lambda seen: "attributes" in operations(seen, file))
        modes = {each.mode for each in changes(records, file) if each.operation == "attributes"}
        assert modes <= {None, 0o4755}


def test_reads_of_a_secret_are_told_with_who_read_it(folder, until):
    shadow, link = folder / "etc" / "shadow", folder / "elsewhere" / "x"
    for path in (shadow, link):
        path.parent.mkdir()
    shadow.write_text("secret")
    link.hardlink_to(shadow)
    with watching(listed(folder, "nothing", secrets=["etc/shadow*"])) as sensor:
        child = subprocess.Popen(["/bin/cat", shadow, link], stdout=subprocess.DEVNULL)
        child.wait()
        records = until(sensor, lambda seen: len(seen) > 1)
        assert {(each.path, each.secret, each.used_path, each.pid) for each in records} == {
            (bytes(shadow), "a secret", b"", child.pid),
            (bytes(shadow), "a secret", bytes(link), child.pid),
        }
        later = shadow.with_name("shadow-")
        later.write_text("x")
        time.sleep(0.1)
        assert sensor.drain() == []
        subprocess.run(["/bin/cat", later], stdout=subprocess.DEVNULL, check=True)
        (read,) = until(sensor, bool)
        assert (type(read), read.path) == (ReadRecord, bytes(later))


def test_the_agents_own_reads_are_none(folder):
    secret = folder / "shadow"
    secret.write_text("x")
    with watching(listed(folder, "nothing", secrets=["shadow"]), os.getpid()) as sensor:
        secret.read_text()
        time.sleep(0.1)
        assert sensor.drain() == []


def test_deeper_and_more_folders_than_the_bound_are_said_and_cost_little(folder, until):
    keys = folder / "home" / ".ssh"
    keys.mkdir(parents=True)
    with watching(listed(folder, "home/.ssh/**", most_folders=50, most_depth=10)) as sensor:
        code = (
            f"import os; os.chdir({str(keys)!r})\n"
            "for n in range(10000): os.mkdir('d' * 20); os.chdir('d' * 20)"
        )
        subprocess.run(["/usr/bin/python3", "-S", "-c", code], check=True)
        (folder / "home" / ".ssh" / "authorized_keys").write_text("evil")
        slowest, records, started = 0.0, [], time.monotonic()
        while not changes(records, keys / "authorized_keys"):
            before = time.monotonic()
            records += sensor.drain()
            slowest = max(slowest, time.monotonic() - before)
            assert before - started < 60
        sensor.drain()
        losses = [each for each in records if isinstance(each, LossRecord)]
        assert [each.bound for each in losses] == [True]
        assert str(keys) in losses[0].detail
        assert "more than 10 deep" in sensor.unwatched[bytes(keys)]
        assert max(each.path.count(b"/") for each in changes(records)) < 20
        for number in range(100):
            (keys / str(number)).mkdir()
        until(sensor, lambda seen: changes(seen, keys / "45"))
        subprocess.run(["rm", "-rf", keys], check=True)
        sensor.drain()
        sensor.drain()
        assert sensor.unwatched == {}
        print(f"slowest drain {slowest * 1000:.0f} ms")
