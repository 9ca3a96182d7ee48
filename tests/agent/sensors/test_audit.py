import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.sensors.audit import AuditSensor
from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket
from agent.sensors.records import AuditRecord, LossRecord

pytestmark = pytest.mark.kernel


@pytest.fixture
def control():
    socket = AuditSocket()
    yield socket
    socket.close()


@pytest.fixture
def free(control):
    """Waits until nobody is the audit daemon: another agent may run on this machine."""
    deadline = time.monotonic() + 60
    while control.status().daemon_pid:
        if time.monotonic() > deadline:
            pytest.skip("another process is the audit daemon")
        time.sleep(0.1)
    return control.status()


def login(login_user_id):
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/loginuid").write_text(str(login_user_id))
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def logins(records, pid):
    return [
        each
        for each in records
        if isinstance(each, AuditRecord)
        and each.kind == "LOGIN"
        and each.fields["pid"] == str(pid).encode()
    ]


def told_login(until, sensor, login_user_id):
    """Logs in until it is told: whoever kept audit on for us may end at any moment."""
    pids = []

    def told(records):
        pids.append(login(login_user_id))
        return [each for pid in pids for each in logins(records, pid)]

    return told(until(sensor, told))[0]


def test_a_login_is_told_with_its_new_session(until):
    sensor = AuditSensor()
    try:
        record = told_login(until, sensor, 4243)
    finally:
        sensor.close()
    assert record.fields["auid"] == b"4243"
    assert record.fields["ses"].isdigit()
    assert abs(record.wall_ns - time.time_ns()) < 60e9


def test_two_see_the_same_and_only_one_is_the_daemon(free, until):
    first, second = AuditSensor(), AuditSensor()
    try:
        assert not second.is_daemon
        for sensor in (first, second):
            assert told_login(until, sensor, 4244)
    finally:
        second.close()
        first.close()


def test_the_place_of_one_that_ends_is_taken_and_the_hole_told(free, until):
    first, second = AuditSensor(), AuditSensor()
    try:
        if not first.is_daemon:
            pytest.skip("another process became the audit daemon")
        first.close()
        records = until(second, lambda seen: second.is_daemon or len(seen) > 10_000)
        assert [each.lost for each in records if isinstance(each, LossRecord)] == [None]
        assert told_login(until, second, 4246)
    finally:
        second.close()
        first.close()


def test_closing_gives_back_what_was_found(control, free):
    for _ in range(5):  # another agent may come or go meanwhile
        found = control.status()
        sensor = AuditSensor()
        ours = sensor.is_daemon
        during = control.status()
        sensor.close()
        sensor.close()
        after = control.status()
        if ours and not found.daemon_pid and not after.daemon_pid:
            break
    else:
        pytest.skip("another process became the audit daemon")
    assert (during.daemon_pid, during.enabled, during.backlog_wait_time) == (os.getpid(), 1, 0)
    assert (after.enabled, after.backlog_limit, after.backlog_wait_time) == (
        found.enabled,
        found.backlog_limit,
        found.backlog_wait_time,
    )


def test_closing_takes_our_rule_away(control, free):
    for _ in range(5):
        sensor = AuditSensor()
        ours = sensor.is_daemon
        sensor.close()
        if ours and control.add_rule(TASK_NEVER):
            control.delete_rule(TASK_NEVER)
            return
    pytest.skip("another process became the audit daemon")


def test_what_a_killed_agent_left_is_cleared_by_the_next(control, free):
    code = (
        "import os\nfrom agent.sensors.audit import AuditSensor\n"
        "print(AuditSensor().is_daemon, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    for _ in range(5):  # another agent may come or go meanwhile
        killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        left = control.status()
        sensor = AuditSensor()
        ours = sensor.is_daemon
        sensor.close()
        after = control.status()
        if killed.stdout == b"True\n" and ours and not after.daemon_pid:
            assert left.enabled == 1
            assert after.enabled == 0
            assert control.add_rule(TASK_NEVER)
            control.delete_rule(TASK_NEVER)
            return
    pytest.skip("another process became the audit daemon")


def test_a_daemon_that_wants_the_place_gets_it_and_we_read_along(free, until):
    sensor = AuditSensor()
    if not sensor.is_daemon:
        sensor.close()
        pytest.skip("another process became the audit daemon")
    code = (
        "import os,time\n"
        "from agent.sensors.audit_netlink import AuditSocket\n"
        "s=AuditSocket(); end=time.monotonic()+20\n"
        "while time.monotonic()<end:\n"
        "    try: s.set_daemon(os.getpid()); break\n"
        "    except FileExistsError: time.sleep(.05)\n"
        "s.set_enabled(1); print('has it', flush=True); input(); s.set_enabled(0); s.set_daemon(0)\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        until(sensor, lambda _: not sensor.is_daemon)
        assert daemon.stdout.readline() == b"has it\n"
        assert told_login(until, sensor, 4245)
    finally:
        daemon.communicate(b"\n", timeout=60)
        sensor.close()
