"""Who had something started, and whose terminal it is: nobody leaves what they came from."""

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent import package_databases
from tests.agent.stages.host import Host

_Born = events.BornFrom
SYSTEMD = "/usr/lib/systemd/systemd"
SERVICE, DETACHED = events.PROVENANCE_SERVICE, events.PROVENANCE_DETACHED
INTERACTIVE = events.PROVENANCE_INTERACTIVE


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path / "passwd")


def unit(host: Host, name: str, *command: str, terminal: str = "", **kernel) -> int:
    """Return the first program of a unit, which PID 1 started."""
    pid = host.fork(1, cgroup=f"/system.slice/{name}", terminal=terminal, **kernel)
    host.set(pid, session_leader=pid)
    host.exec(pid, *command)
    return pid


# -- terminals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", ["/usr/bin/script", "/usr/bin/python3.11", "/usr/bin/apt-get"])
def test_a_terminal_that_a_service_opens_stays_the_services(host, opener):
    main = unit(host, "apt-daily-upgrade.service", "/usr/bin/dash", "-c", "x")
    above, _ = host.run(main, opener)
    below, image = host.run(above, "/usr/bin/dpkg", "--unpack", terminal="pts/3")
    assert (image.provenance, image.service) == (SERVICE, "apt-daily-upgrade.service")
    _, image = host.run(below, "/usr/bin/bash", terminal="pts/4")
    assert (image.provenance, image.service) == (SERVICE, "apt-daily-upgrade.service")


def test_so_it_does_without_systemd_and_in_a_container(host):
    daemon = host.daemon("/opt/thingd")
    _, image = host.run(daemon, "/usr/bin/bash", terminal="pts/3")
    assert (image.provenance, image.service) == (SERVICE, "/opt/thingd")
    group = f"/system.slice/docker-{'ab' * 32}.scope"
    shim = unit(host, "docker.service", "/usr/bin/containerd-shim-runc-v2")
    entry, image = host.run(shim, "/usr/sbin/nginx", cgroup=group)
    assert image.provenance == SERVICE
    _, image = host.run(entry, "/bin/sh", terminal="pts/0")
    assert image.provenance == SERVICE


def test_a_terminal_that_a_runtime_gives_is_somebodys(host):
    group = f"/system.slice/docker-{'ab' * 32}.scope"
    shim = unit(host, "docker.service", "/usr/bin/containerd-shim-runc-v2")
    runc, _ = host.run(shim, "/usr/bin/runc", "exec", "-t")
    init, _ = host.run(runc, "/usr/bin/runc", "init")
    first = host.fork(init)
    host.set(first, cgroup=group, terminal="pts/0", session_leader=first)
    image = host.exec(first, "/bin/sh")
    assert (image.provenance, image.HasField("login_user_id")) == (INTERACTIVE, False)
    _, image = host.run(first, "/usr/sbin/useradd", "eve")
    assert image.provenance == INTERACTIVE


def test_a_console_is_somebodys_though_its_getty_is_a_service(host):
    getty = unit(host, "getty@tty1.service", "/sbin/agetty", terminal="tty1")
    image = host.exec(getty, "/bin/login", "-p")
    assert image.provenance == INTERACTIVE
    _, image = host.run(getty, "/bin/bash")
    assert (image.provenance, image.terminal) == (INTERACTIVE, "tty1")


def test_a_getty_that_init_starts_finds_its_terminal_later(host):
    getty = host.fork(1)
    host.set(getty, session_leader=getty)
    host.exec(getty, "/sbin/getty", "tty1")
    host.set(getty, terminal="tty1")
    assert host.exec(getty, "/bin/login").provenance == INTERACTIVE
    assert host.run(getty, "/bin/sh")[1].provenance == INTERACTIVE


def test_a_person_at_sshd_without_a_login_uid_is_no_service(host):
    daemon = unit(host, "ssh.service", "/usr/sbin/sshd", "-D")
    monitor, _ = host.run(daemon, "/usr/sbin/sshd", "-R")
    user = host.fork(monitor)
    _, image = host.run(user, "/bin/bash", terminal="pts/0")
    assert image.provenance == INTERACTIVE


# -- leaving ---------------------------------------------------------------------------------------


def test_who_makes_itself_a_daemon_keeps_the_service_that_it_left(host):
    web = host.daemon("/usr/sbin/httpd")
    shell, started = host.run(web, "/bin/sh", "-c", "x &")
    child = host.fork(shell)
    host.set(child, session_leader=child)
    host.exec(child, "/usr/bin/xmrig")
    host.exit(shell)
    image = host.image(child)
    assert image.service == "/usr/bin/xmrig"
    born = image.born_from
    assert (born.service, born.way, born.provenance) == (
        "/usr/sbin/httpd",
        _Born.WAY_DAEMONISED,
        SERVICE,
    )
    assert (born.exec_id, born.attribution) == (started.exec_id, events.ATTRIBUTION_EXACT)
    below, image = host.run(child, "/usr/sbin/useradd", "eve")
    assert image.born_from == born
    # Once more: where it began counts.
    again = host.fork(below)
    host.set(again, session_leader=again)
    host.exec(again, "/tmp/again")
    host.exit(below)
    assert host.image(again).born_from.service == "/usr/sbin/httpd"


@pytest.mark.parametrize("exec_first", [True, False])
def test_whichever_comes_first_exec_or_the_parents_end(host, exec_first):
    web = host.daemon("/usr/sbin/httpd")
    parent, _ = host.run(web, "/usr/bin/setsid", "-f", "/opt/d")
    child = host.fork(parent)
    host.set(child, session_leader=child)
    for step in (0, 1):
        if (step == 0) == exec_first:
            host.exec(child, "/opt/d")
        else:
            host.exit(parent)
    assert host.image(child).service == "/opt/d"
    assert host.image(child).born_from.service == "/usr/sbin/httpd"


def test_what_init_starts_came_from_nobody(host):
    assert not host.image(host.daemon("/usr/sbin/crond")).HasField("born_from")
    nginx = unit(host, "nginx.service", "/usr/sbin/nginx")
    assert not host.image(nginx).HasField("born_from")


def test_a_service_that_moves_itself_into_anothers_group_does_not_become_it(host):
    web = unit(host, "web.service", "/usr/sbin/httpd")
    child = host.fork(web)
    host.set(child, cgroup="/system.slice/cron.service")
    image = host.exec(child, "/usr/sbin/useradd", "eve")
    assert image.born_from.service == "web.service"
    scope = host.fork(web)
    host.set(scope, cgroup="/system.slice/run-r0123abc.scope")
    image = host.exec(scope, "/usr/sbin/useradd", "eve")
    assert (image.born_from.service, image.born_from.way) == (
        "web.service",
        _Born.WAY_TRANSIENT_UNIT,
    )


def test_a_service_that_becomes_another_user_stays_the_service(host):
    web = unit(host, "web.service", "/usr/sbin/httpd")
    su = host.fork(web)
    host.set(su, cgroup="/user.slice/user-0.slice/session-c1.scope")
    assert host.exec(su, "/bin/su", "-").service == "web.service"


# -- requests --------------------------------------------------------------------------------------


def test_systemd_run_is_its_persons_work(host):
    _, shell = host.sshd()
    _, asked = host.run(shell, "/usr/bin/systemd-run", "-p", "Type=exec", "useradd", "eve")
    other = unit(host, "run-u8.service", "/usr/bin/true", "x")
    assert not host.image(other).HasField("born_from")
    main = unit(host, "run-u9.service", "/usr/sbin/useradd", "eve")
    image = host.image(main)
    assert image.provenance == DETACHED
    born = image.born_from
    assert (born.login_user, born.session_id, born.way) == ("alice", 7, _Born.WAY_TRANSIENT_UNIT)
    assert (born.exec_id, born.attribution) == (asked.exec_id, events.ATTRIBUTION_INFERRED)
    _, image = host.run(main, "/bin/sh")
    assert (image.provenance, image.born_from.login_user) == (DETACHED, "alice")
    # It was started once.
    again = unit(host, "run-u10.service", "/usr/sbin/useradd", "eve")
    assert not host.image(again).HasField("born_from")


def test_a_service_that_uses_systemd_run_is_not_lost(host):
    web = unit(host, "web.service", "/usr/sbin/httpd")
    host.run(web, "/usr/bin/systemd-run", "--unit=x", "/tmp/miner")
    image = host.image(unit(host, "x.service", "/tmp/miner"))
    assert (image.provenance, image.service) == (SERVICE, "x.service")
    assert image.born_from.service == "web.service"


@pytest.mark.parametrize(
    ("command", "way"),
    [
        (["/usr/bin/systemctl", "restart", "nginx"], _Born.WAY_UNIT),
        (["/usr/bin/systemctl", "--no-pager", "enable", "--now", "nginx.service"], _Born.WAY_UNIT),
        (["/usr/bin/systemctl", "start", "nginx.timer"], _Born.WAY_TIMER),
        (
            [
                "/usr/bin/busctl",
                "call",
                "org.freedesktop.systemd1",
                "/",
                "x",
                "StartUnit",
                "ss",
                "nginx.service",
                "replace",
            ],
            _Born.WAY_UNIT,
        ),
    ],
)
def test_a_unit_says_who_had_it_started_and_is_a_service_still(host, command, way):
    _, shell = host.sshd()
    host.run(shell, *command)
    image = host.image(unit(host, "nginx.service", "/usr/sbin/nginx"))
    assert (image.provenance, image.service) == (SERVICE, "nginx.service")
    assert (image.born_from.login_user, image.born_from.way) == ("alice", way)


@pytest.mark.parametrize("verb", ["status", "stop", "enable"])
def test_what_starts_nothing_is_no_request(host, verb):
    _, shell = host.sshd()
    host.run(shell, "/usr/bin/systemctl", verb, "nginx")
    assert not host.image(unit(host, "nginx.service", "/usr/sbin/nginx")).HasField("born_from")


def test_a_request_is_not_remembered_for_ever(host):
    _, shell = host.sshd()
    host.run(shell, "/usr/bin/systemctl", "start", "nginx")
    host.now += 121_000_000_000
    assert not host.image(unit(host, "nginx.service", "/usr/sbin/nginx")).HasField("born_from")


def test_a_unit_in_a_persons_own_manager(host):
    _, shell = host.sshd()
    host.run(shell, "/usr/bin/systemctl", "--user", "start", "sync")
    manager = unit(host, "user@1001.service/init.scope", SYSTEMD, "--user")
    group = "/user.slice/user-1001.slice/user@1001.service/app.slice/sync.service"
    _, image = host.run(manager, "/usr/bin/sync", cgroup=group)
    assert image.provenance == events.PROVENANCE_USER_SERVICE
    assert (image.born_from.login_user, image.born_from.way) == ("alice", _Born.WAY_USER_UNIT)


def a_job(host: Host, opener: str, user_id: int, *command: str) -> events.Image:
    daemon = host.daemon(opener)
    child = host.fork(daemon)
    host.login(child, session_id=90, login_user_id=user_id)
    shell = host.fork(child)
    host.set(shell, session_leader=shell)
    return host.exec(shell, *command)


def test_a_job_of_at_is_the_persons_who_left_it(host):
    _, shell = host.sshd()
    at, asked = host.run(shell, "/usr/bin/at", "now")
    host.identifier.requests.wrote(b"/var/spool/cron/atjobs/a00001", host.image(at))
    image = a_job(host, "/usr/sbin/atd", 1001, "/bin/sh")
    assert (image.provenance, image.born_from.exec_id) == (DETACHED, asked.exec_id)
    assert (image.born_from.way, image.born_from.session_id) == (_Born.WAY_AT, 7)


def test_which_job_it_is_the_daemon_tells_by_renaming_it(host):
    _, shell = host.sshd()
    requests = host.identifier.requests
    _, first = host.run(shell, "/usr/bin/at", "now")
    _, second = host.run(shell, "/usr/bin/at", "now")
    requests.wrote(b"/var/spool/cron/atjobs/a00001", first)
    requests.wrote(b"/var/spool/cron/atjobs/a00002", second)
    daemon = host.daemon("/usr/sbin/atd")
    child = host.fork(daemon)
    requests.claims(child, b"/var/spool/cron/atjobs/=00001")
    host.login(child, session_id=90)
    assert host.run(child, "/bin/sh")[1].born_from.exec_id == first.exec_id


def test_a_line_of_a_crontab_is_whose_file_it_is(host, tmp_path):
    _, shell = host.sshd()
    _, editor = host.run(shell, "/usr/bin/crontab", "-e")
    file = tmp_path / "alice"
    file.write_text("* * * * * /tmp/x --now\n")
    requests = host.identifier.requests
    requests.cron_folders = (bytes(tmp_path),)
    requests.wrote(bytes(file), editor)
    image = a_job(host, "/usr/sbin/cron", 1001, "/bin/sh", "-c", "/tmp/x --now")
    assert (image.provenance, image.born_from.way) == (DETACHED, _Born.WAY_CRON)
    assert image.born_from.login_user == "alice"
    other = a_job(host, "/usr/sbin/cron", 1001, "/bin/sh", "-c", "/usr/bin/backup")
    assert (other.provenance, other.HasField("born_from")) == (events.PROVENANCE_SCHEDULED, False)


def test_what_a_package_put_into_cron_is_nobodys(host):
    _, shell = host.sshd()
    dpkg, _ = host.run(shell, "/usr/bin/dpkg", "--unpack", "x.deb", user_id=0)
    host.identifier.requests.wrote(b"/etc/cron.daily/x", host.image(dpkg))
    image = a_job(host, "/usr/sbin/cron", 0, "/bin/sh", "/etc/cron.daily/x")
    assert image.provenance == events.PROVENANCE_SCHEDULED


def test_any_number_of_requests_and_files_takes_bounded_memory(host):
    _, shell = host.sshd()
    requests = host.identifier.requests
    for number in range(2000):
        _, image = host.run(shell, "/usr/bin/systemctl", "start", f"x{number}")
        requests.wrote(b"/etc/cron.d/%d" % number, image)
        requests.claims(number, b"/var/spool/cron/atjobs/=%d" % number)
    assert requests.size <= 1024


# -- openers ---------------------------------------------------------------------------------------


def test_a_shell_called_cron_that_no_package_owns_schedules_nothing(host, tmp_path):
    package_databases.dpkg(tmp_path, {"cron": ["/usr/sbin/cron"], "bash": ["/usr/bin/bash"]})
    owners = host.identifier.images.owners
    owners.root = tmp_path
    owners.refresh()
    _, shell = host.sshd()
    for path, scheduled in (("/usr/local/bin/cron", False), ("/usr/sbin/cron", True)):
        cron, _ = host.run(shell, path)
        child = host.fork(cron)
        host.login(child, session_id=91 + scheduled, login_user_id=0)
        _, image = host.run(child, "/usr/sbin/useradd", "eve")
        assert (image.provenance == events.PROVENANCE_SCHEDULED) == scheduled
        if not scheduled:
            assert (image.provenance, image.login_user) == (INTERACTIVE, "alice")
