import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.records import UNSET_ID
from nightherd.event.v1 import event_pb2 as events
from tests.agent.stages.host import Host


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path / "passwd")


def test_a_person_at_an_ssh_terminal_is_interactive_and_has_no_service(host):
    _, shell = host.sshd()
    _, image = host.run(shell, "/usr/sbin/useradd", "bob")
    assert image.provenance == events.PROVENANCE_INTERACTIVE
    assert (image.login_user, image.login_user_id, image.session_id) == ("alice", 1001, 7)
    assert image.service == ""
    assert image.terminal == "pts/1"


def test_a_remote_command_without_terminal_is_scripted(host):
    _, shell = host.sshd(terminal="")
    _, image = host.run(shell, "/usr/sbin/useradd", "bob")
    assert image.provenance == events.PROVENANCE_SCRIPTED
    assert image.login_user == "alice"


def test_the_ssh_daemon_itself_is_a_service(host):
    listener = host.daemon("/usr/sbin/sshd")
    assert host.image(listener).provenance == events.PROVENANCE_SERVICE
    assert host.image(listener).service == "/usr/sbin/sshd"


def test_sudo_su_and_setsid_keep_the_login_user(host):
    _, shell = host.sshd()
    sudo, _ = host.run(shell, "/usr/bin/sudo", "su", "-", effective_user_id=0)
    su, _ = host.run(sudo, "/bin/su", "-", user_id=0)
    detached = host.fork(su)
    host.set(detached, session_leader=detached)
    image = host.exec(detached, "/usr/sbin/useradd", "bob")
    assert (image.user, image.login_user) == ("root", "alice")
    assert image.provenance == events.PROVENANCE_INTERACTIVE
    assert image.service == ""
    assert host.above(detached)[:3] == [b"/bin/su", b"/usr/bin/sudo", b"/bin/bash"]


def test_resetting_the_login_uid_changes_nothing(host):
    _, shell = host.sshd()
    pid = host.fork(shell)
    host.set(pid, login_user_id=UNSET_ID, session_id=UNSET_ID)
    image = host.exec(pid, "/usr/sbin/useradd", "bob")
    assert image.provenance == events.PROVENANCE_INTERACTIVE
    assert image.login_user == "alice"


def test_a_login_uid_written_by_hand_within_a_session_changes_nothing(host):
    _, shell = host.sshd()
    pid = host.fork(shell)
    host.login(pid, session_id=99, login_user_id=0)
    image = host.exec(pid, "/usr/sbin/useradd", "bob")
    assert (image.login_user, image.session_id) == ("alice", 7)


def test_a_cron_job_is_scheduled_and_of_the_service_cron(host):
    cron = host.daemon("/usr/sbin/cron")
    child = host.fork(cron)
    host.login(child, session_id=12, login_user_id=0)
    shell = host.fork(child)
    host.set(shell, session_leader=shell)
    host.exec(shell, "/bin/sh", "-c", "useradd bob")
    _, image = host.run(shell, "/usr/sbin/useradd", "bob")
    assert image.provenance == events.PROVENANCE_SCHEDULED
    assert image.service == "/usr/sbin/cron"


def test_a_program_called_cron_elsewhere_opens_no_schedule(host):
    fake = host.daemon("/tmp/cron")
    child = host.fork(fake)
    host.login(child, session_id=12)
    _, image = host.run(child, "/usr/sbin/useradd", "bob")
    assert image.provenance == events.PROVENANCE_SCRIPTED


def test_an_unknown_opener_is_taken_for_a_person(host):
    pid = host.fork(host.daemon("/opt/login-thing"))
    host.login(pid, session_id=5)
    assert host.exec(pid, "/bin/sh").provenance == events.PROVENANCE_SCRIPTED
    host.set(pid, terminal="pts/3")
    assert host.exec(pid, "/bin/sh").provenance == events.PROVENANCE_INTERACTIVE


def test_a_terminal_without_login_is_interactive_and_nobody_known(host):
    shim = host.daemon("/usr/bin/containerd-shim")
    _, image = host.run(shim, "/bin/sh", terminal="pts/0")
    assert image.provenance == events.PROVENANCE_INTERACTIVE
    assert not image.HasField("login_user_id")


def test_a_daemon_is_named_by_its_script_and_children_inherit(host):
    pid = host.daemon("/usr/bin/python3.11", "/opt/accounts/daemon.py")
    _, image = host.run(pid, "/usr/sbin/useradd", "bob")
    assert image.service == "/opt/accounts/daemon.py"
    assert image.provenance == events.PROVENANCE_SERVICE


def test_the_same_base_name_elsewhere_is_another_service(host):
    one = host.daemon("/usr/bin/python3.11", "/opt/a/daemon.py")
    other = host.daemon("/usr/bin/python3.11", "/opt/b/daemon.py")
    assert host.image(one).service != host.image(other).service


def test_a_double_fork_makes_a_service_of_its_own(host):
    starter = host.daemon("/usr/sbin/starter")
    first, _ = host.run(starter, "/usr/sbin/thingd")
    host.set(first, session_leader=first)
    second = host.fork(first)
    host.exit(first)
    assert host.image(second).service == "/usr/sbin/thingd"
    _, image = host.run(second, "/usr/sbin/useradd", "bob")
    assert image.service == "/usr/sbin/thingd"


def test_setsid_f_is_a_service_whichever_comes_first_exec_or_exit(host):
    for exec_first in (True, False):
        starter = host.daemon("/usr/sbin/starter")
        parent, _ = host.run(starter, "/usr/bin/setsid", "-f", "/opt/d")
        child = host.fork(parent)
        host.set(child, session_leader=child)
        if exec_first:
            host.exec(child, "/opt/d")
            host.exit(parent)
        else:
            host.exit(parent)
            host.exec(child, "/opt/d")
        assert host.image(child).service == "/opt/d", exec_first


def test_what_outlives_its_session_is_detached(host):
    monitor, shell = host.sshd()
    job, image = host.run(shell, "/usr/bin/nohup", "/opt/miner")
    assert image.provenance == events.PROVENANCE_INTERACTIVE
    host.exit(shell)
    host.exit(monitor)
    host.now += 2_000_000_000
    assert host.image(job).provenance == events.PROVENANCE_DETACHED
    _, later = host.run(job, "/usr/sbin/useradd", "bob")
    assert later.provenance == events.PROVENANCE_DETACHED
    assert later.login_user == "alice"


def test_what_ended_with_its_session_was_done_by_the_person(host):
    monitor, shell = host.sshd(terminal="")
    job, _ = host.run(shell, "/usr/sbin/useradd", "bob")
    host.exit(monitor)
    host.exit(job)
    host.exit(shell)
    host.now += 2_000_000_000
    assert host.image(job).provenance == events.PROVENANCE_SCRIPTED


def test_a_daemon_started_by_init_d_is_detached_once_the_person_left(host):
    monitor, shell = host.sshd()
    script, _ = host.run(shell, "/bin/sh", "/etc/init.d/thing", "start")
    daemon = host.fork(script)
    host.set(daemon, session_leader=daemon, terminal="")
    host.exec(daemon, "/usr/sbin/thingd")
    host.exit(script)
    host.exit(shell)
    host.exit(monitor)
    host.now += 2_000_000_000
    image = host.image(daemon)
    assert image.provenance == events.PROVENANCE_DETACHED
    assert image.login_user == "alice"


@pytest.mark.parametrize(
    ("cgroup", "service", "provenance"),
    [
        ("/system.slice/nginx.service", "nginx.service", events.PROVENANCE_SERVICE),
        ("/system.slice/getty@tty1.service", "getty@.service", events.PROVENANCE_SERVICE),
        ("/system.slice/run-r0a1b.service", "transient", events.PROVENANCE_SERVICE),
        (
            "/user.slice/user-1001.slice/user@1001.service/app.slice/sync.service",
            "sync.service",
            events.PROVENANCE_USER_SERVICE,
        ),
    ],
)
def test_units_name_services(host, cgroup, service, provenance):
    pid = host.fork(1, cgroup=cgroup)
    image = host.exec(pid, "/usr/bin/thing")
    assert (image.service, image.provenance) == (service, provenance)


def test_a_container_is_known_by_its_cgroup(host):
    container = "ab" * 32
    pid = host.fork(1, cgroup=f"/system.slice/docker-{container}.scope")
    assert host.exec(pid, "/usr/sbin/nginx").container_id == container


def test_what_runs_for_a_package_manager_is_maintenance(host):
    _, shell = host.sshd()
    dpkg, _ = host.run(shell, "/usr/bin/dpkg", "--configure", "-a", user_id=0)
    script, _ = host.run(dpkg, "/bin/sh", "/var/lib/dpkg/info/x.postinst")
    _, image = host.run(script, "/usr/sbin/useradd", "_x")
    assert image.maintenance
    _, other = host.run(shell, "/tmp/dpkg", user_id=0)
    assert not other.maintenance


def test_a_pid_that_execs_twice_is_two_images(host):
    _, shell = host.sshd()
    pid, first = host.run(shell, "/usr/bin/env", "sh")
    second = host.exec(pid, "/bin/sh")
    assert first.exec_id != second.exec_id
    assert second.parent_exec_id == first.exec_id
    assert host.above(pid)[0] == b"/usr/bin/env"


def test_a_pid_used_again_is_another_process(host):
    pid, first = host.run(1, "/usr/bin/a")
    host.exit(pid)
    host._next_pid = pid - 1
    again, second = host.run(1, "/usr/bin/b")
    assert again == pid
    assert first.exec_id != second.exec_id
    assert host.image(pid).executable == b"/usr/bin/b"


def test_two_processes_with_one_pid_within_a_tick_are_both_named(host):
    pid, first = host.run(1, "/usr/bin/a")
    host.exit(pid)
    host._next_pid = pid - 1
    again = host.fork(1)
    host.set(again)
    identifier = host.identifier
    record = host._record("exec", again, executable=b"/usr/bin/b", arguments=(b"b",))
    second = identifier.exec(record).image
    process = identifier.processes.who(pid)

    def named(read_ns):
        return {ran.image.exec_id for ran in identifier.who_changed(process, read_ns)}

    assert {first.exec_id, second.exec_id} <= named(host.now + 1)
    host.now += 20 * 1_000_000
    identifier.begin_tick(0, host.now)
    identifier.begin_tick(0, host.now + 2)
    assert named(host.now + 3) == {second.exec_id}


def test_who_ended_can_be_named_for_a_minute_and_no_longer(host):
    pid, _ = host.run(1, "/usr/bin/a")
    host.exit(pid)
    host.identifier.forget(host.now + 59_000_000_000)
    assert host.identifier.processes.who(pid) is not None
    host.identifier.forget(host.now + 61_000_000_000)
    assert host.identifier.processes.who(pid) is None


def test_secrets_in_arguments_never_reach_an_image(host):
    pid = host.daemon("/usr/bin/tool", "--password=hunter2")
    _, below = host.run(pid, "/usr/bin/child", "--token", "hunter2")
    assert b"hunter2" not in below.SerializeToString()


def test_ancestors_are_at_most_sixteen_nearest_first(host):
    pid = host.daemon("/usr/bin/p0")
    for number in range(1, 60):
        pid, _ = host.run(pid, f"/usr/bin/p{number}")
        nearest = range(number - 1, max(number - 17, -1), -1)
        assert host.above(pid)[:number] == [f"/usr/bin/p{n}".encode() for n in nearest]


def test_a_program_that_executes_itself_without_end_takes_no_memory_without_end(host):
    pid = host.daemon("/usr/bin/p0")
    for number in range(1, 200):
        host.exec(pid, f"/usr/bin/p{number}")
    assert host.above(pid) == [f"/usr/bin/p{n}".encode() for n in range(198, 182, -1)]
    line, length = host.identifier.processes.get(pid).above, 0
    while line is not None:
        line, length = line.above, length + 1
    assert length <= 32


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["fork", "exec", "exit"]), st.integers(0, 8)), max_size=60
    )
)
def test_any_order_of_records_is_survived_and_everybody_has_a_name(steps, tmp_path_factory):
    host = Host(tmp_path_factory.getbasetemp() / "passwd")
    pids = [1]
    for kind, place in steps:
        pid = pids[place % len(pids)]
        if kind == "fork":
            pids.append(host.fork(pid))
        elif kind == "exec":
            assert host.exec(pid, "/usr/bin/x").exec_id
        elif pid != 1:
            host.exit(pid)
            pids.remove(pid)
    assert len(host.identifier.processes) >= 1
