"""What runs for a package manager, and what only looks like one."""

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from agent.stages import maintenance
from tests.agent import package_databases
from tests.agent.stages.host import Host

OWNED = {
    "dpkg": ["/usr/bin/dpkg"],
    "apt": ["/usr/bin/apt-get", "/usr/lib/apt/apt.systemd.daily"],
    "unattended-upgrades": ["/usr/bin/unattended-upgrade"],
    "rpm": ["/usr/bin/rpm"],
    "dnf": ["/usr/bin/dnf-3"],
    "coreutils": ["/usr/bin/env"],
}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "passwd")


@pytest.fixture
def with_database(host, tmp_path):
    """The host, with a package database."""
    package_databases.dpkg(tmp_path, OWNED)
    owners = host.identifier.images.owners
    owners.root = tmp_path
    owners.refresh()
    return host


def test_maintainer_scripts_and_what_they_run(with_database):
    host = with_database
    _, shell = host.sshd()
    sudo, _ = host.run(shell, "/usr/bin/sudo", "apt-get", "install", "x", effective_user_id=0)
    apt, image = host.run(sudo, "/usr/bin/apt-get", "install", "x", user_id=0)
    assert (image.maintenance, image.package) == (True, "apt")
    dpkg, _ = host.run(apt, "/usr/bin/dpkg", "--configure", "x")
    script, image = host.run(dpkg, "/usr/bin/dash", "/var/lib/dpkg/info/x.postinst", "configure")
    assert (image.maintenance, image.script) == (True, b"/var/lib/dpkg/info/x.postinst")
    _, image = host.run(script, "/usr/sbin/useradd", "_x")
    assert (image.maintenance, image.login_user) == (True, "alice")
    assert not host.image(shell).maintenance


def test_unattended_upgrades(with_database):
    host = with_database
    daily = host.daemon("/usr/bin/dash", "/usr/lib/apt/apt.systemd.daily", "install")
    assert not host.image(daily).maintenance
    upgrade, image = host.run(daily, "/usr/bin/python3.11", "/usr/bin/unattended-upgrade")
    assert image.maintenance
    _, image = host.run(upgrade, "/usr/bin/dpkg", "--unpack", "x.deb")
    assert image.maintenance


def test_rpm_scriptlets(with_database):
    host = with_database
    dnf = host.daemon("/usr/bin/python3.11", "/usr/bin/dnf-3", "-y", "update")
    _, image = host.run(dnf, "/usr/bin/bash", "/var/tmp/rpm-tmp.Ab12cd", "1")
    assert image.maintenance
    rpm = host.daemon("/usr/bin/rpm", "-i", "x.rpm")
    _, image = host.run(rpm, "/usr/bin/bash", "/var/tmp/rpm-tmp.Ab12ce", "1")
    assert image.maintenance


@pytest.mark.parametrize(
    "path", ["/tmp/dpkg", "/usr/bin/yum", "/usr/local/bin/apt", "/usr/bin/env"]
)
def test_a_name_makes_no_package_manager(with_database, path):
    assert not with_database.run(1, path)[1].maintenance


def test_where_no_database_is_known_the_name_in_a_system_folder_must_do(host):
    assert host.run(1, "/usr/bin/yum")[1].maintenance
    assert not host.run(1, "/opt/yum")[1].maintenance


def test_who_is_not_root_maintains_nothing(with_database):
    host = with_database
    _, shell = host.sshd()
    pager, image = host.run(shell, "/usr/bin/apt-get", "changelog", "x")
    assert not image.maintenance
    assert not host.run(pager, "/usr/bin/bash", user_id=0)[1].maintenance


def test_a_containers_package_manager_is_not_the_hosts(with_database):
    pid = with_database.fork(1, cgroup=f"/system.slice/docker-{'ab' * 32}.scope")
    image = with_database.exec(pid, "/usr/bin/dpkg", "-i", "evil.deb")
    assert (image.maintenance, image.package) == (False, "")


def test_a_daemon_that_a_package_left_behind_works_for_itself(with_database):
    host = with_database
    dpkg = host.daemon("/usr/bin/dpkg", "--configure", "x")
    script, _ = host.run(dpkg, "/usr/bin/dash", "/var/lib/dpkg/info/x.postinst")
    starter, _ = host.run(script, "/usr/bin/dash", "/etc/init.d/x", "start")
    daemon, image = host.run(starter, "/usr/sbin/xd")
    host.set(daemon, session_leader=daemon)
    assert image.maintenance
    host.exit(starter)
    assert not host.image(daemon).maintenance
    assert not host.run(daemon, "/usr/sbin/useradd", "eve")[1].maintenance
    assert host.run(script, "/usr/sbin/useradd", "_x")[1].maintenance


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("/usr/bin/dpkg", ["--pre-invoke=cp /tmp/x /etc/cron.d/x", "-l"]),
        ("/usr/bin/dpkg", ["--post-invoke=true", "--configure", "-a"]),
        ("/usr/bin/apt-get", ["-o", "APT::Update::Pre-Invoke::=/tmp/x", "update"]),
        ("/usr/bin/apt-get", ["-oDPkg::Post-Invoke=/tmp/x", "install", "x"]),
        ("/usr/bin/apt-get", ["--option=dpkg::pre-install-pkgs::=/tmp/x", "install", "x"]),
        ("/usr/bin/apt-get", ["-o", "Dir::Bin::dpkg=/tmp/x", "install", "x"]),
        ("/usr/bin/apt-get", ["-o", "Dpkg::Options::=--pre-invoke=/tmp/x", "install", "x"]),
        ("/usr/bin/apt-get", ["-c=/tmp/apt.conf", "update"]),
        ("/usr/bin/dpkg", ["--root=/srv/other", "-i", "x.deb"]),
    ],
)
def test_hooks_and_foreign_settings_void_it(with_database, program, arguments):
    host = with_database
    pid, image = host.run(1, program, *arguments)
    assert not image.maintenance
    assert not host.run(pid, "/usr/bin/dash", "-c", "cp /tmp/x /etc/cron.d/x")[1].maintenance


def test_a_hook_below_a_package_manager_voids_it_again(with_database):
    host = with_database
    apt, image = host.run(1, "/usr/bin/apt-get", "install", "x")
    assert image.maintenance
    dpkg, image = host.run(apt, "/usr/bin/dpkg", "--pre-invoke=/tmp/x", "--unpack", "x.deb")
    assert not image.maintenance
    assert not host.run(dpkg, "/tmp/x")[1].maintenance


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-y"],
        ["-y", "--no-install-recommends", "install", "x"],
        ["-qq", "-o", "Dpkg::Use-Pty=0", "install", "x"],
        ["--status-fd", "12", "--unpack", "--auto-deconfigure", "/var/cache/apt/archives/x.deb"],
    ],
)
def test_what_people_commonly_say_to_it_does_not(with_database, arguments):
    assert with_database.run(1, "/usr/bin/apt-get", *arguments)[1].maintenance


@pytest.mark.parametrize("command", [["/usr/bin/less"], ["/usr/bin/bash"], ["/usr/bin/bash", "-i"]])
def test_a_shell_or_pager_that_it_opens_for_somebody_is_not_its_own(with_database, command):
    host = with_database
    apt, _ = host.run(1, "/usr/bin/apt-get", "changelog", "x")
    opened, image = host.run(apt, *command)
    assert not image.maintenance
    assert not host.run(opened, "/usr/sbin/useradd", "eve")[1].maintenance


def test_a_file_of_other_content_than_its_package_says_is_no_package_manager(
    with_database, tmp_path
):
    host, dpkg = with_database, tmp_path / "usr/bin/dpkg"
    dpkg.parent.mkdir(parents=True)
    sums = tmp_path / "var/lib/dpkg/info/dpkg.md5sums"
    dpkg.write_bytes(b"the real one")
    right = hashlib.md5(b"the real one").hexdigest()
    sums.write_text(f"{right}  usr/bin/dpkg\n")
    assert host.run(1, "/usr/bin/dpkg", "-l")[1].maintenance
    dpkg.write_bytes(b"a shell put, or mounted, in its place")
    assert not host.run(1, "/usr/bin/dpkg", "-l")[1].maintenance


def test_another_mount_namespace_or_root_shows_other_files():
    assert not maintenance.is_elsewhere(os.getpid())
    assert maintenance.is_elsewhere(os.getpid(), mount_namespace=1)
    assert not maintenance.is_elsewhere(1 << 22)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_mount_namespace_of_its_own_is_noticed():
    with subprocess.Popen(["unshare", "-m", "sleep", "60"]) as process:
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        assert maintenance.is_elsewhere(process.pid)
        process.kill()
