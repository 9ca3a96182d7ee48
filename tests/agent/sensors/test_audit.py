import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.sensors.audit import AuditSensor
from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket
from agent.sensors.records import AuditRecord

pytestmark = pytest.mark.kernel
USER_MESSAGE = 1005


@pytest.fixture
def control():
    socket = AuditSocket()
    yield socket
    socket.close()


@pytest.fixture
def free(control):
    """Waits until nobody is the audit daemon: another agent may run on this machine."""
    deadline = time.monotonic() + 10
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


def test_a_login_is_told_with_its_new_session(until):
    sensor = AuditSensor()
    try:
        pid = login(4243)
        (record,) = logins(until(sensor, lambda seen: logins(seen, pid)), pid)
    finally:
        sensor.close()
    assert record.fields["auid"] == b"4243"
    assert record.fields["ses"].isdigit()
    assert abs(record.wall_ns - time.time_ns()) < 60e9


def test_two_see_the_same_and_only_one_is_the_daemon(free, until):
    first, second = AuditSensor(), AuditSensor()
    try:
        assert not second.is_daemon
        pid = login(4244)
        for sensor in (first, second):
            assert logins(until(sensor, lambda seen: logins(seen, pid)), pid)
    finally:
        second.close()
        first.close()


def test_closing_gives_back_what_was_found(control, free):
    sensor = AuditSensor()
    if not sensor.is_daemon:
        sensor.close()
        pytest.skip("another process became the audit daemon")
    during = control.status()
    sensor.close()
    sensor.close()
    after = control.status()
    assert (during.daemon_pid, during.enabled, during.backlog_wait_time) == (os.getpid(), 1, 0)
    assert after.daemon_pid != os.getpid()
    if not after.daemon_pid:
        assert (after.enabled, after.backlog_limit, after.backlog_wait_time) == (
            free.enabled,
            free.backlog_limit,
            free.backlog_wait_time,
        )
        assert control.add_rule(TASK_NEVER)  # it was not there any more
        control.delete_rule(TASK_NEVER)


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
        pid = login(4245)
        assert logins(until(sensor, lambda seen: logins(seen, pid)), pid)
    finally:
        daemon.communicate(b"\n", timeout=20)
        sensor.close()
