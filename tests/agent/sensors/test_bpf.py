import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.sensors.bpf import BpfSensor
from agent.sensors.records import UNSET_ID, LossRecord, ProcessRecord, SocketRecord

pytestmark = pytest.mark.kernel
KIB = 1024


@pytest.fixture
def sensor():
    opened = BpfSensor()
    opened.drain()
    yield opened
    opened.close()


def processes(records, kind=None, pid=None):
    return [
        each
        for each in records
        if isinstance(each, ProcessRecord) and kind in (None, each.kind) and pid in (None, each.pid)
    ]


def run(*arguments, **options):
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, **options)
    child.wait()
    return child.pid


def life_of(until, sensor, pid):
    return processes(until(sensor, lambda seen: processes(seen, "exit", pid)), pid=pid)


def test_a_process_is_seen_from_fork_to_exit_as_one(sensor, until):
    pid = run("/bin/sh", "-c", "exit 3")
    fork, program, end = life_of(until, sensor, pid)
    assert [each.kind for each in (fork, program, end)] == ["fork", "exec", "exit"]
    assert fork.start_ns == program.start_ns == end.start_ns
    assert fork.boot_ns <= program.boot_ns <= end.boot_ns
    assert fork.ppid == program.ppid == os.getpid()
    assert end.exit_status == 3 << 8
    assert program.session_leader == os.getsid(0)
    assert program.exact


def test_the_signal_that_ended_a_process_is_told(sensor, until):
    child = subprocess.Popen(["/bin/sleep", "60"])
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert life_of(until, sensor, child.pid)[-1].exit_status == signal.SIGKILL


def test_an_exit_of_a_process_with_threads_comes_once_with_its_last_thread(sensor, until):
    code = "import threading,time;threading.Thread(target=time.sleep,args=(.1,)).start()"
    pid = run(sys.executable, "-S", "-c", code)
    kinds = [each.kind for each in life_of(until, sensor, pid)]
    assert kinds == ["fork", "exec", "exit"]


def test_arguments_are_bytes_as_they_are(sensor, until):
    pid = run(b"/bin/echo", b"a\xffb", b"", b"two words", b"")
    program = life_of(until, sensor, pid)[1]
    assert program.arguments == (b"/bin/echo", b"a\xffb", b"", b"two words", b"")
    assert not program.arguments_cut


@pytest.mark.parametrize(("size", "cut"), [(4 * KIB - 11, False), (4 * KIB - 10, True)])
def test_arguments_over_4_kib_are_cut_and_say_so(sensor, until, size, cut):
    pid = run("/bin/true", "x" * size)  # "/bin/true" and two NULs take 11 bytes
    program = life_of(until, sensor, pid)[1]
    assert program.arguments_cut is cut
    assert sum(len(each) + 1 for each in program.arguments) <= 4 * KIB + 1
    assert program.arguments[0] == b"/bin/true"
    assert set(program.arguments[1]) == set(b"x")


def test_a_script_is_seen_with_its_interpreter(sensor, until, folder):
    script = folder / "job"
    script.write_text("#!/bin/sh\n:\n")
    script.chmod(0o755)
    program = life_of(until, sensor, run("./job", "a", cwd=folder))[1]
    assert program.requested_path == b"./job"
    assert program.executable == os.path.realpath(b"/bin/sh")
    assert program.arguments == (b"/bin/sh", b"./job", b"a")
    assert program.working_directory == os.fsencode(folder)


def test_paths_cross_mounts_and_follow_links(sensor, until, folder):
    mount = folder / "m"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "nhs", mount], check=True)
    try:
        program = mount / "deep" / "t"
        program.parent.mkdir()
        program.write_bytes(Path("/bin/true").read_bytes())
        program.chmod(0o755)
        (folder / "link").symlink_to(program)
        seen = life_of(until, sensor, run(folder / "link", cwd=program.parent))[1]
    finally:
        subprocess.run(["umount", mount], check=True)
    assert seen.requested_path == os.fsencode(folder / "link")
    assert seen.executable == os.fsencode(program)
    assert seen.working_directory == os.fsencode(program.parent)


def test_a_program_without_a_file_name_is_named(sensor, until):
    pid = os.fork()
    if pid == 0:
        fd = os.memfd_create("ghost", 0)
        os.write(fd, Path("/bin/true").read_bytes())
        os.execv(f"/proc/self/fd/{fd}", ["ghost"])
    os.waitpid(pid, 0)
    assert life_of(until, sensor, pid)[1].executable == b"/memfd:ghost"


def test_a_path_deeper_than_we_follow_says_so(sensor, until, folder):
    deep = folder.joinpath(*["d"] * 80)
    deep.mkdir(parents=True)
    program = life_of(until, sensor, run("/bin/true", cwd=deep))[1]
    assert program.working_directory == b"/..." + b"/d" * 64


def test_a_cgroup_is_told_by_its_path(sensor, until):
    root = next(
        (
            Path(line.split()[4])
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if " - cgroup2 " in line
        ),
        None,
    )
    if root is None:
        pytest.skip("no cgroup v2 here")
    group = root / f"nhs{os.getpid()}.slice" / "nhs.service"
    group.mkdir(parents=True)
    try:
        join = f"echo $$ > {group}/cgroup.procs && exec /bin/true"
        program = life_of(until, sensor, run("/bin/sh", "-c", join))[2]
    finally:
        group.rmdir()
        group.parent.rmdir()
    assert program.executable.endswith(b"/true")
    assert program.cgroup == f"/{group.parent.name}/nhs.service"


def test_a_login_session_with_a_terminal_is_told_from_none(sensor, until):
    pid, terminal = pty.fork()
    if pid == 0:
        Path("/proc/self/loginuid").write_text("4242")
        os.execv("/bin/sh", ["sh", "-c", "/bin/true in a session; :"])
    try:
        while os.read(terminal, 1000):
            pass
    except OSError:
        pass
    os.close(terminal)
    os.waitpid(pid, 0)
    records = until(sensor, lambda seen: processes(seen, "exit", pid))
    shell = processes(records, "exec", pid)[0]
    inner = next(each for each in processes(records, "exec") if each.ppid == pid)
    assert inner.login_user_id == shell.login_user_id == 4242
    assert inner.session_id == shell.session_id != UNSET_ID
    assert inner.terminal.startswith("pts/")
    assert inner.arguments == (b"/bin/true", b"in", b"a", b"session")

    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.execv("/bin/true", ["daemon"])
    os.waitpid(pid, 0)
    daemon = life_of(until, sensor, pid)[1]
    assert (daemon.terminal, daemon.session_leader) == ("", pid)


def test_effective_and_real_user_are_told_apart(sensor, until):
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 0, 0)
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
    program = life_of(until, sensor, pid)[1]
    assert (program.user_id, program.effective_user_id) == (65534, 0)


def test_500_programs_in_a_row_are_all_seen(sensor, until):
    loop = "i=0; while [ $i -lt 500 ]; do /bin/true $i; i=$((i+1)); done"
    pid = run("/bin/sh", "-c", loop)
    records = until(sensor, lambda seen: processes(seen, "exit", pid))
    children = {each.pid for each in processes(records, "fork") if each.ppid == pid}
    for kind in ("fork", "exec", "exit"):
        assert sum(each.pid in children for each in processes(records, kind)) == 500
    numbers = [each.arguments[1] for each in processes(records, "exec") if each.pid in children]
    assert numbers == [b"%d" % number for number in range(500)]
    assert not [each for each in records if isinstance(each, LossRecord)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_tcp_connects_and_listens_name_their_process(sensor, until, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        client.connect((address, port))

        def mine(records):
            return [
                each
                for each in records
                if isinstance(each, SocketRecord) and port in (each.local_port, each.remote_port)
            ]

        listen, connect = mine(until(sensor, lambda seen: len(mine(seen)) == 2))
    assert (listen.kind, listen.pid, listen.local_address) == ("listen", os.getpid(), address)
    assert (connect.kind, connect.pid, connect.protocol) == ("connect", os.getpid(), "tcp")
    assert (connect.remote_address, connect.remote_port) == (address, port)


def test_an_ipv4_address_in_an_ipv6_socket_is_written_as_ipv4(sensor, until):
    with socket.socket() as server, socket.socket(socket.AF_INET6) as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        client.connect(("::ffff:127.0.0.1", port))
        records = until(
            sensor,
            lambda seen: [each for each in seen if getattr(each, "remote_port", 0) == port],
        )
    assert next(e for e in records if getattr(e, "remote_port", 0) == port).remote_address == (
        "127.0.0.1"
    )


def test_what_finds_no_room_is_counted(until):
    small = BpfSensor(ring_bytes=4096 * 4)
    try:
        run("/bin/sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done")
        records = until(small, lambda seen: [e for e in seen if isinstance(e, LossRecord)])
    finally:
        small.close()
    seen = len(processes(records))
    loss = next(each for each in records if isinstance(each, LossRecord))
    assert loss.source == "bpf"
    assert loss.lost is not None
    assert seen + loss.lost >= 300
    assert loss.since_ns < loss.boot_ns


def test_closing_twice_unloads_once():
    sensor = BpfSensor()
    before = len(list(Path("/proc/self/fd").iterdir()))
    sensor.close()
    sensor.close()
    assert len(list(Path("/proc/self/fd").iterdir())) < before
