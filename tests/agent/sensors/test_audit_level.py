"""The audit level on this kernel: executions by an audit rule, files by fanotify."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.sensors import audit, open_sensors
from agent.sensors.audit import AuditSensor
from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket, Status
from agent.sensors.audit_rules import EXCLUSIONS, LOCKED, exec_rules, hindrance, stale, tells_execs
from agent.sensors.records import UNKNOWN_STATUS, FileRecord, LossRecord, ProcessRecord
from agent.sensors.unavailable import SensorUnavailable
from agent.sensors.watchlist import Entry, WatchList

NOBODY = Status(enabled=1, daemon_pid=0, backlog_limit=64, lost=0, backlog_wait_time=15000)
SOMEBODY = Status(enabled=1, daemon_pid=1, backlog_limit=64, lost=0, backlog_wait_time=15000)
LOCKED_UP = Status(enabled=LOCKED, daemon_pid=1, backlog_limit=64, lost=0, backlog_wait_time=0)

# As a person whose shell was started by hand: audit must know who stands behind it.
AS_A_PERSON = """
import os, pty, sys
open("/proc/self/loginuid", "w").write("4250")
pid, fd = pty.fork()
if pid == 0:
    os.chdir("/var/tmp")
    os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
while True:
    try:
        if not os.read(fd, 1000): break
    except OSError: break
os.waitpid(pid, 0)
"""


@pytest.fixture
def control():
    socket = AuditSocket()
    yield socket
    socket.close()


@pytest.fixture
def watchful(monkeypatch):
    """Sensors look at the rules at every turn, not every five seconds."""
    monkeypatch.setattr(audit, "_LOOK_AT_RULES_EVERY_NS", 0)


@pytest.fixture
def level(folder):
    opened = open_sensors("audit", WatchList([Entry("t", (bytes(folder) + b"/**",), urgent=True)]))
    if opened.level != "audit":
        opened.close()
        pytest.skip(f"another agent keeps audit from it: {opened.not_seen}")
    yield opened
    opened.close()


def of(records, *arguments):
    return [
        each
        for each in records
        if isinstance(each, ProcessRecord)
        and each.kind == "exec"
        and set(arguments) <= set(each.arguments)
    ]


def test_rules_of_others_are_understood():
    assert all(tells_execs(rule) for rule in exec_rules()[:1])
    assert not any(map(tells_execs, (*EXCLUSIONS, TASK_NEVER, b"", b"\0" * 50)))
    assert len(exec_rules("x86_64")) == len(exec_rules("aarch64")) == 2
    assert exec_rules("sparc64") == ()


@pytest.mark.parametrize(
    ("status", "rules", "why"),
    [
        (NOBODY, [], ""),
        (SOMEBODY, list(exec_rules()), ""),
        (SOMEBODY, [TASK_NEVER], "task,never"),
        (LOCKED_UP, [], "locked until the next boot"),
        (LOCKED_UP, list(exec_rules()), ""),
        (Status(0, 1, 64, 0, 15000), [], "switched off"),
    ],
)
def test_what_keeps_executions_from_being_told_is_said(status, rules, why):
    said = hindrance(status, rules)
    assert why in said
    assert bool(said) == bool(why)


@pytest.mark.kernel
def test_a_rule_that_blinds_it_later_is_a_failure_of_the_source(control, until, watchful):
    try:
        sensor = AuditSensor(processes=True)
    except SensorUnavailable as why:
        pytest.skip(f"another agent keeps audit from it: {why}")
    added = control.add_rule(TASK_NEVER)
    try:
        with pytest.raises(OSError, match="task,never"):
            until(sensor, lambda _: False)
    finally:
        if added:
            control.delete_rule(TASK_NEVER)
        sensor.close()


@pytest.mark.kernel
def test_a_short_lived_program_of_a_person_is_told_whole(level, folder, until):
    path = folder / "made"
    script = f'/bin/true "two words" x\\\\y; echo > {path}'
    subprocess.run([sys.executable, "-c", AS_A_PERSON, script], check=True)
    records = until(
        level.sensors,
        lambda seen: (
            of(seen, b"two words")
            and any(isinstance(r, FileRecord) and r.path == bytes(path) for r in seen)
        ),
    )
    (true,) = of(records, b"two words")
    (shell,) = of(records, b"sh", script.encode())
    assert true.executable.endswith(b"/true")
    assert true.arguments == (b"/bin/true", b"two words", b"x\\y")
    assert (true.ppid, true.working_directory) == (shell.pid, b"/var/tmp")
    assert (true.login_user_id, true.session_id) == (4250, shell.session_id)
    assert true.terminal.startswith("pts/")
    assert true.exact
    assert abs(true.boot_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 60e9
    writers = {r.pid for r in records if isinstance(r, FileRecord) and r.path == bytes(path)}
    assert writers == {shell.pid}


@pytest.mark.kernel
def test_the_end_of_a_process_is_told_without_a_status(level, until):
    child = subprocess.Popen(["/bin/sleep", "0.3"])
    child.wait()
    records = until(
        level.sensors,
        lambda seen: any(
            isinstance(r, ProcessRecord) and (r.kind, r.pid) == ("exit", child.pid) for r in seen
        ),
    )
    (end,) = [
        r
        for r in records
        if isinstance(r, ProcessRecord) and (r.kind, r.pid) == ("exit", child.pid)
    ]
    (begin,) = [
        r
        for r in records
        if isinstance(r, ProcessRecord) and (r.kind, r.pid) == ("exec", child.pid)
    ]
    assert (end.exit_status, end.exact) == (UNKNOWN_STATUS, False)
    assert begin.start_ns == end.start_ns


@pytest.mark.kernel
def test_rules_are_withdrawn_on_close(control, level):
    during = control.rules()
    level.close()
    after = control.rules()
    assert all(rule in during for rule in exec_rules())
    assert not any(rule in after for rule in exec_rules())


@pytest.mark.kernel
def test_what_it_does_not_see_is_said(level):
    said = " ".join(level.not_seen)
    assert "Forks are not seen" in said
    assert "before audit was first switched on" in said
    assert [each.name for each in level.sensors] == ["fanotify", "audit", "snapshot", "listeners"]


@pytest.mark.kernel
def test_rules_of_a_killed_agent_are_removed_by_the_next(control):
    code = (
        "import os\nfrom agent.sensors.audit import AuditSensor\n"
        "sensor = AuditSensor(processes=True)\nprint(sensor.is_daemon, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    if done.stdout.strip() != b"True":
        pytest.skip(f"another process is the audit daemon: {done.stderr.decode()[-300:]}")
    left = stale(control.rules())
    assert len(left) == len(exec_rules())
    sensor = AuditSensor()
    ours = sensor.is_daemon
    sensor.close()
    if not ours:
        pytest.skip("another process became the audit daemon")
    assert not any(rule in control.rules() for rule in (*left, *EXCLUSIONS, TASK_NEVER))


@pytest.mark.kernel
def test_rules_that_a_killed_reader_left_are_removed_by_any_agent(control):
    code = (
        "from agent.sensors.audit_netlink import AuditSocket\n"
        "from agent.sensors.audit_rules import exec_rules\n"
        "socket = AuditSocket()\nfor rule in exec_rules(): socket.add_rule(rule)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)
    mine = exec_rules()[0]
    control.add_rule(mine)
    try:
        assert mine not in stale(control.rules())
        AuditSensor().close()
        assert not stale(control.rules())
        assert mine in control.rules()
    finally:
        control.delete_rule(mine)


@pytest.mark.kernel
def test_who_ran_before_is_told_to_have_ended(folder, until):
    child = subprocess.Popen(["/bin/sleep", "60"])
    opened = open_sensors("audit", WatchList([Entry("t", (bytes(folder) + b"/**",), urgent=True)]))
    try:
        if opened.level != "audit":
            pytest.skip(f"another agent keeps audit from it: {opened.not_seen}")
        child.kill()
        child.wait()
        records = until(
            opened.sensors,
            lambda seen: any(
                isinstance(r, ProcessRecord) and (r.kind, r.pid) == ("exit", child.pid)
                for r in seen
            ),
        )
    finally:
        opened.close()
        child.kill()
        child.wait()
    (end,) = [
        r
        for r in records
        if isinstance(r, ProcessRecord) and r.kind == "exit" and r.pid == child.pid
    ]
    assert 0 < end.boot_ns - end.start_ns < 60e9


@pytest.fixture
def auditd(tmp_path):
    """Starts Debian's auditd with a log of its own; ends it and what it changed."""
    running = []

    def start():
        conf = tmp_path / "etc"
        conf.mkdir(exist_ok=True)
        (conf / "plugins.d").mkdir(exist_ok=True)
        (conf / "auditd.conf").write_text(
            f"log_file = {tmp_path}/audit.log\nlog_format = RAW\nlocal_events = yes\n"
            f"write_logs = yes\nplugin_dir = {conf}/plugins.d\nspace_left = 75\n"
            "space_left_action = IGNORE\nadmin_space_left = 50\nadmin_space_left_action = IGNORE\n"
            "disk_full_action = IGNORE\ndisk_error_action = IGNORE\noverflow_action = IGNORE\n"
        )
        (conf / "auditd.conf").chmod(0o640)
        conf.chmod(0o750)
        process = subprocess.Popen(
            ["/usr/sbin/auditd", "-n", "-c", str(conf)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        return process

    if not Path("/usr/sbin/auditd").exists():
        pytest.skip("auditd is not installed")
    yield start
    for process in running:
        process.terminate()
        process.wait(60)


def is_daemon(control, process):
    deadline = time.monotonic() + 60
    while control.status().daemon_pid != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.kernel
def test_beside_auditd_its_settings_stay_and_our_rules_go(control, auditd, until):
    process = auditd()
    if not is_daemon(control, process):
        pytest.skip("another process is the audit daemon")
    control.delete_rule(TASK_NEVER)
    settings, rules = control.status(), control.rules()
    try:
        sensor = AuditSensor(processes=True)
    except SensorUnavailable as why:
        pytest.skip(f"another agent's rule is there: {why}")
    try:
        assert not sensor.is_daemon
        assert replace(control.status(), lost=0, backlog=0) == replace(settings, lost=0, backlog=0)
        subprocess.run(["/bin/true", "beside-auditd"], check=True)
        (record,) = of(until(sensor, lambda seen: of(seen, b"beside-auditd")), b"beside-auditd")
        assert record.pid != os.getpid()
    finally:
        sensor.close()
    assert control.rules() == rules
    assert control.status().daemon_pid == process.pid


@pytest.mark.kernel
def test_an_auditd_that_starts_later_gets_the_place_and_executions_go_on(
    control, auditd, until, watchful
):
    sensor = AuditSensor(processes=True)
    try:
        if not sensor.is_daemon:
            pytest.skip("another process is the audit daemon")
        process = auditd()
        records = until(sensor, lambda _: not sensor.is_daemon)
        if not is_daemon(control, process):
            # The kernel turned it away, and told us; who manages services starts it again.
            process = auditd()
            if not is_daemon(control, process):
                pytest.skip(f"{control.status().daemon_pid} is the audit daemon, not auditd")
        subprocess.run(["/bin/true", "after-auditd"], check=True)
        records += until(sensor, lambda seen: of(seen, b"after-auditd"))
        assert not [each for each in records if isinstance(each, LossRecord)]

        # Whoever loads auditd's rules begins with removing all there are.
        def removed(seen):
            for rule in exec_rules():
                control.delete_rule(rule)
            return any(isinstance(each, LossRecord) for each in seen)

        told = until(sensor, removed)
        for rule in exec_rules():
            control.add_rule(rule)
        assert any(
            "removed the rules" in each.detail and each.blind
            for each in told
            if isinstance(each, LossRecord)
        )
        subprocess.run(["/bin/true", "back-again"], check=True)
        assert of(until(sensor, lambda seen: of(seen, b"back-again")), b"back-again")
    finally:
        sensor.close()
    assert not any(rule in control.rules() for rule in exec_rules())
