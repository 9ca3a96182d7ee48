import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.folders import homes_of_this_host, look_into, opened
from agent.sensors.watchlist import Entry, WatchList, load

DEFAULT = load()
NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")
)


def name_of(path, watch_list=DEFAULT):
    entry = watch_list.entry_for(path)
    return entry.name if entry else None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/etc/passwd", "accounts"),
        (b"/etc/passwd-", "accounts"),
        (b"/etc/passwd+", None),
        (b"/etc/passwd.1234", None),
        (b"/etc/sudoers.d/a/b", "sudoers"),
        (b"/etc/ssh/sshd_config", "ssh"),
        (b"/home/a/.ssh/authorized_keys", "ssh keys"),
        (b"/home/a/.ssh", "ssh keys"),
        (b"/home/a", "home folders"),
        (b"/home/a/.bashrc", "shell start files"),
        (b"/home/a/deep/.bashrc", None),
        (b"/root/.bashrc", "shell start files"),
        (b"/etc/pam.d/sudo", "pam"),
        (b"/etc/cron.d/j\xff\n", "cron"),
        (b"/var/spool/cron/crontabs/root", "cron"),
        (b"/etc/systemd/system/x.service.d/o.conf", "systemd"),
        (b"/etc/ld.so.preload", "loader"),
        (b"/etc/hosts", "network"),
        (b"/etc/resolv.conf", "network"),
        (b"/etc/profile.d/x.sh", "profile"),
        (b"/etc/apt/sources.list.d/x.list", "package sources"),
        (b"/usr/bin/x", "programs"),
        (b"/usr/local/sbin/x", "programs"),
        (b"/var/log/wtmp", "login records"),
        (b"/var/log/nginx/access.log", "logs"),
        (b"/etc", None),
        (b"/tmp/x", None),
    ],
)
def test_the_default_list_knows(path, name):
    assert name_of(path) == name


def test_growth_of_logs_is_no_change_but_of_accounts_is():
    assert DEFAULT.entry_for(b"/var/log/syslog").structure_only
    assert not DEFAULT.entry_for(b"/etc/shadow").structure_only
    assert not DEFAULT.growth_matters(b"/var/log")
    assert DEFAULT.growth_matters(b"/etc")


@given(st.sampled_from(DEFAULT.patterns), st.lists(NAMES, min_size=1, max_size=3), NAMES)
def test_every_folder_above_a_watched_name_leads_to_it(pattern, below, name):
    path = (
        pattern.removesuffix(b"/**") + b"/" + b"/".join(below)
        if pattern.endswith(b"**")
        else pattern.replace(b"/**/", b"/" + b"/".join(below) + b"/")
    ).replace(b"~", b"/home/a", 1)
    path = path.replace(b"*", name).replace(b"?", b"x")
    assert DEFAULT.entry_for(path) is not None
    parts = path.split(b"/")
    for length in range(1, len(parts)):
        assert DEFAULT.leads_on(b"/".join(parts[:length]) or b"/")


@given(st.binary(max_size=40))
def test_any_path_has_an_answer(path):
    assert DEFAULT.entry_for(path) is DEFAULT.entry_for(path)
    assert DEFAULT.leads_on(path) in (True, False)


def test_the_first_entry_that_matches_wins():
    first = Entry("first", (b"/a/x",), urgent=True)
    second = Entry("second", (b"/a/**",), urgent=False)
    both = WatchList([first, second])
    assert name_of(b"/a/x", both) == "first"
    assert name_of(b"/a/y", both) == "second"
    assert name_of(b"/a", both) == "second"
    assert name_of(b"/ab", both) is None


def test_further_paths_replace_earlier_ones_and_mean_all_below():
    once = DEFAULT.with_paths([b"/srv/app/", b"relative"])
    again = once.with_paths([b"/data/*/bin"])
    assert name_of(b"/srv/app", once) == name_of(b"/srv/app/a/b", once) == "further"
    assert name_of(b"/srv/app", again) is None
    assert name_of(b"/data/x/bin", again) == "further"
    assert name_of(b"/etc/passwd", again) == "accounts"


def test_no_entries_watch_nothing():
    assert WatchList([]).entry_for(b"/etc/passwd") is None


def test_homes_come_from_passwd_too(tmp_path):
    passwd = tmp_path / "passwd"
    passwd.write_bytes(
        b"a:x:1:1::/srv/a:/bin/sh\nb:x:2:2::/nonexistent:/bin/sh\nbroken\nc:x:3:3::/:\n"
    )
    homes = homes_of_this_host(passwd)
    assert homes == [b"/srv/a"]
    assert name_of(b"/srv/a/.ssh/authorized_keys", DEFAULT.with_homes(homes)) == "ssh keys"
    assert homes_of_this_host(tmp_path / "none") == []


def test_a_home_in_a_folder_of_homes_is_not_listed_again():
    assert DEFAULT.with_homes([b"/home/new", b"/root"]) is DEFAULT
    assert DEFAULT.with_homes([b"/srv/new"]).homes == (*DEFAULT.homes, b"/srv/new")


def test_what_a_link_leads_to_is_called_by_the_name_of_the_link():
    linked = DEFAULT.with_links({b"/srv/jobs": b"/etc/cron.d", b"/data/keys": b"/home/a/.ssh"})
    assert name_of(b"/srv/jobs/x", linked) == "cron"
    assert linked.listed(b"/srv/jobs/x") == b"/etc/cron.d/x"
    assert name_of(b"/data/keys/authorized_keys", linked) == "ssh keys"
    assert linked.listed(b"/etc/cron.d/x") == b"/etc/cron.d/x"
    assert linked.leads_on(b"/srv")
    assert linked.leads_on(b"/srv/jobs/deep")
    assert not DEFAULT.leads_on(b"/srv/jobs/deep")
    assert name_of(b"/srv/jobs2/x", linked) is None


def test_a_folder_that_is_closed_has_nothing_in_it(tmp_path):
    fd = opened(bytes(tmp_path))
    os.close(fd)
    assert look_into(fd, bytes(tmp_path)) == []
