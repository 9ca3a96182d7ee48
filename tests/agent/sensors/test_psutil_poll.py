import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors import proc_files
from agent.sensors.bpf import BpfSensor
from agent.sensors.psutil_poll import PollSensor, SnapshotSensor
from agent.sensors.records import ProcessRecord, SocketRecord


def of(records, pid, kind=None):
    return [
        each
        for each in records
        if isinstance(each, ProcessRecord) and each.pid == pid and kind in (None, each.kind)
    ]


def test_the_snapshot_knows_this_process_and_comes_once():
    sensor = SnapshotSensor()
    (me,) = of(sensor.drain(), os.getpid())
    assert me.kind == "snapshot"
    assert not me.exact
    assert me.ppid == os.getppid()
    assert me.executable == bytes(Path("/proc/self/exe").readlink())
    assert me.working_directory == bytes(Path.cwd())
    assert me.user_id == os.getuid()
    assert me.session_leader == os.getsid(0)
    assert b"\0".join(me.arguments) + b"\0" == Path("/proc/self/cmdline").read_bytes()
    assert not sensor.drain()


@pytest.mark.kernel
def test_the_snapshot_and_ebpf_agree_on_when_a_process_began(until):
    sensor = BpfSensor()
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        (fork,) = of(until(sensor, lambda seen: of(seen, child.pid, "exec")), child.pid, "fork")
        (seen,) = of(SnapshotSensor().drain(), child.pid)
    finally:
        sensor.close()
        child.kill()
        child.wait()
    assert fork.start_ns // proc_files.NS_PER_TICK * proc_files.NS_PER_TICK == seen.start_ns


def test_the_snapshot_knows_a_terminal():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    try:
        # The child takes the terminal after it was forked.
        until = time.monotonic() + 60
        while not proc_files.stat(pid).terminal and time.monotonic() < until:
            time.sleep(0.01)
        (seen,) = of(SnapshotSensor().drain(), pid)
        assert f"/dev/{seen.terminal}" == str(Path(f"/proc/{pid}/fd/0").readlink())
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_the_snapshot_knows_who_listens():
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        seen = {
            (each.protocol, each.local_port): each
            for each in SnapshotSensor().drain()
            if isinstance(each, SocketRecord)
        }
        assert seen["tcp", tcp.getsockname()[1]].pid == os.getpid()
        assert seen["udp", udp.getsockname()[1]].kind == "listen"


def test_polling_sees_what_lives_long_enough(until):
    sensor = PollSensor()
    assert of(sensor.drain(), os.getpid(), "snapshot")
    code = "import os; input(); os.execv('/bin/sleep', ['sleep', '60'])"
    child = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE)
    (first,) = of(until(sensor, lambda seen: of(seen, child.pid)), child.pid)
    assert (first.kind, first.exact) == ("exec", False)
    child.stdin.write(b"\n")
    child.stdin.close()
    second = of(until(sensor, lambda seen: of(seen, child.pid)), child.pid)[-1]
    assert second.arguments == (b"sleep", b"60")
    assert second.start_ns == first.start_ns
    child.kill()
    child.wait()
    (end,) = of(until(sensor, lambda seen: of(seen, child.pid)), child.pid)
    assert (end.kind, end.executable) == ("exit", b"")


@given(st.integers(0, 2**32 - 1))
def test_any_terminal_device_has_a_name(device):
    assert bool(proc_files.terminal_name(device)) is (device != 0)


def test_a_process_that_is_gone_says_nothing():
    assert proc_files.stat(2**22 + 1) is None
    assert proc_files.cgroup(2**22 + 1) == ""
