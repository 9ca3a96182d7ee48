"""Rights that are given and taken, as the kernel's checkpoints see it."""

import os
import shutil
import signal
import struct
import subprocess

import pytest

from agent.stages.gains import Gains
from nightherd.event.v1 import event_pb2 as events
from tests.agent.doing import NOBODY

pytestmark = pytest.mark.kernel
Change, Gain = events.FileChange, events.PrivilegeGain
Access = events.ProcessAccess
CAP_SETUID = 7
CAPABILITY = struct.pack("<5I", 0x0200_0001, 1 << CAP_SETUID, 0, 0, 0)
"""cap_setuid=ep, as the extended attribute has it."""


def as_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def changes(told, path):
    return [
        change
        for _, event in told
        for change in event.file_change.changes
        if change.path == bytes(path)
    ]


def test_setuid_is_told_with_the_mode_that_was_requested_though_the_file_is_gone(host, folder):
    host.needs("on_chmod")
    path = folder / "sh"
    path.write_bytes(b"#!/bin/sh\n")
    os.chown(path, 4711, 4712)
    pid = host.do("os.chmod(sys.argv[1], 0o4755); os.remove(sys.argv[1])", path)
    image, event = host.first("file_change", pid)
    (change,) = changes([(image, event)], path)
    assert change.operation == Change.OPERATION_ATTRIBUTES
    assert (change.requested_mode, change.mode) == (0o4755, 0o4755)
    assert (change.owner_id, change.group_id) == (4711, 4712)
    assert event.attribution == events.ATTRIBUTION_EXACT


def test_fchmod_and_setgid_are_told_and_what_is_executable_in_temporary_folders(host, folder):
    host.needs("on_chmod")
    path, script = folder / "a", folder / "b"
    path.touch()
    script.touch()
    code = "os.fchmod(os.open(sys.argv[1], os.O_RDONLY), 0o2711); os.chmod(sys.argv[2], 0o755)"
    told = host.all("file_change", host.do(code, path, script))
    assert [each.requested_mode for each in changes(told, path)] == [0o2711]
    assert [each.requested_mode for each in changes(told, script)] == [0o755]


def test_harmless_and_refused_modes_are_not_told(host, folder):
    path = folder / "a"
    path.touch()
    code = """
os.chmod(sys.argv[1], 0o640)
os.setresuid(65534, 65534, 65534)
try:
    os.chmod(sys.argv[1], 0o4755)
except PermissionError:
    sys.exit(0)
sys.exit(1)
"""
    assert host.all("file_change", host.do(code, path)) == []


def test_capabilities_of_files_are_told_when_they_come_and_go(host, folder):
    host.needs("on_setxattr", "on_removexattr")
    path = folder / "deep" / "tool"
    path.parent.mkdir()
    path.touch()
    given = host.do("os.setxattr(*map(os.fsencode, sys.argv[1:3]), bytes.fromhex(sys.argv[3]))",
                    path, "security.capability", CAPABILITY.hex())  # fmt: skip
    taken = host.do("os.removexattr(sys.argv[1], 'security.capability')", path)
    other = host.do("os.setxattr(sys.argv[1], 'user.note', b'1')", path)
    for pid in (given, taken):
        (change,) = changes(host.all("file_change", pid), path)
        assert change.attribute == "security.capability"
        assert change.operation == Change.OPERATION_ATTRIBUTES
    assert host.all("file_change", other) == []


def test_who_becomes_root_by_a_setuid_program_is_told(host, folder):
    program = folder / "rootbash"
    shutil.copy("/bin/true", program)
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    pid = host.run(program, preexec_fn=as_nobody)
    image, event = host.first("privilege_gain", pid)
    gain = event.privilege_gain
    assert (gain.previous_effective_user_id, gain.effective_user_id) == (NOBODY, 0)
    assert gain.way == Gain.WAY_SET_USER_ID_PROGRAM
    assert image.executable == bytes(program)
    assert events.TRAIT_SET_USER_ID in image.traits
    assert events.TRAIT_TEMPORARY_FILE in image.traits


def test_programs_that_are_there_for_it_and_root_itself_gain_nothing(host, folder):
    program = folder / "tool"
    shutil.copy("/bin/true", program)
    program.chmod(0o4755)
    by_root = host.run(program)
    passwd = host.run("/usr/bin/passwd", "--status", preexec_fn=as_nobody, stdout=-3, stderr=-3)
    dropped = host.do("os.setresuid(65534, 0, 0); os.seteuid(65534); os.seteuid(0)")
    for pid in (by_root, passwd, dropped):
        assert host.all("privilege_gain", pid) == []
    ((image, _),) = host.of("exec", passwd)
    assert events.TRAIT_SET_USER_ID in image.traits
    assert Gains().is_there_for_it(image.executable)


def test_who_becomes_root_by_a_call_is_told_however_the_kernel_shows_it(host, folder):
    program = folder / "perl"
    shutil.copy("/usr/bin/perl", program)
    os.setxattr(program, "security.capability", CAPABILITY)
    program.chmod(0o755)
    code = "$> = 0; $< = 0; exec '/bin/true' if $> == 0"
    pid = host.run(program, "-e", code, preexec_fn=as_nobody)
    image, event = host.first("privilege_gain", pid)
    gain = event.privilege_gain
    assert (gain.previous_effective_user_id, gain.effective_user_id) == (NOBODY, 0)
    if "on_setuid" in host.bpf.refused:
        assert gain.way == Gain.WAY_UNSPECIFIED
    else:
        assert gain.way == Gain.WAY_SYSTEM_CALL
        assert image.executable == bytes(program)


@pytest.fixture
def victim():
    process = subprocess.Popen(["/bin/sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(("request_", "program"), [(16, "on_signal"), (0x4206, "on_attach")])
def test_attaching_to_a_process_is_told_with_its_target(host, victim, request_, program):
    host.needs(program)
    host.first("exec", victim.pid)
    code = "assert libc.ptrace(int(sys.argv[1]), int(sys.argv[2]), 0, 0) == 0"
    _, event = host.first("process_access", host.do(code, request_, victim.pid))
    access = event.process_access
    assert access.operation == Access.OPERATION_ATTACHED
    assert (access.target_pid, access.target_user_id) == (victim.pid, 0)
    assert access.target_executable == os.path.realpath("/bin/sleep").encode()
    ((image, _),) = host.of("exec", victim.pid)
    assert access.target_exec_id == image.exec_id


def test_attaching_is_told_once(host, victim):
    pid = host.do("assert libc.ptrace(16, int(sys.argv[1]), 0, 0) == 0", victim.pid)
    assert len(host.all("process_access", pid)) == 1


def test_writing_to_the_memory_of_a_process_is_told_and_reading_is_not(host, victim):
    host.needs("on_memory")
    writes = host.do("open(f'/proc/{sys.argv[1]}/mem', 'r+b', 0)", victim.pid)
    reads = host.do("open(f'/proc/{sys.argv[1]}/mem', 'rb', 0)", victim.pid)
    own = host.do("open('/proc/self/mem', 'r+b', 0)")
    _, event = host.first("process_access", writes)
    access = event.process_access
    assert access.operation == Access.OPERATION_MEMORY_WRITTEN
    assert access.target_pid == victim.pid
    assert host.all("process_access", reads) == host.all("process_access", own) == []


def test_writing_by_process_vm_writev_is_told(host, victim):
    host.needs("on_process_vm")
    code = """
line = next(each for each in open(f"/proc/{sys.argv[1]}/maps") if "[stack]" in each)
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
mine = ctypes.create_string_buffer(8)
local, remote = Vector(ctypes.addressof(mine), 8), Vector(int(line.split("-")[0], 16), 8)
libc.process_vm_writev(int(sys.argv[1]), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
"""
    _, event = host.first("process_access", host.do(code, victim.pid))
    assert event.process_access.operation == Access.OPERATION_MEMORY_WRITTEN
    assert event.process_access.target_pid == victim.pid


def test_a_fatal_signal_to_another_users_process_is_told_with_its_sender(host):
    host.needs("on_signal")
    others = subprocess.Popen(["/bin/sleep", "600"], preexec_fn=as_nobody)  # noqa: PLW1509
    mine = subprocess.Popen(["/bin/sleep", "600"])
    code = "os.kill(int(sys.argv[1]), int(sys.argv[2]))"
    harmless = host.do(code, others.pid, signal.SIGCONT)
    same = host.do(code, mine.pid, signal.SIGKILL)
    pid = host.do(code, others.pid, signal.SIGTERM)
    others.wait()
    mine.wait()
    _, event = host.first("process_access", pid)
    access = event.process_access
    assert access.operation == Access.OPERATION_SIGNALLED
    assert (access.target_pid, access.signal) == (others.pid, signal.SIGTERM)
    assert access.target_user_id == NOBODY
    assert host.all("process_access", harmless) == host.all("process_access", same) == []


def test_a_fatal_signal_to_the_agent_is_told(host):
    host.needs("on_signal")
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    try:
        pid = host.do(f"os.kill({os.getpid()}, 15)")
        _, event = host.first("process_access", pid)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (event.process_access.target_pid, event.process_access.signal) == (os.getpid(), 15)
