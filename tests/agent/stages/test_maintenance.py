"""What runs for a package manager, and what only looks like one."""

import pytest

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
