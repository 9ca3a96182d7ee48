import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sensors.proc_programs import link, program_of
from agent.sensors.psutil_poll import running_processes
from nightherd.event.v1 import event_pb2 as events


def bits(*traits):
    return sum(1 << each for each in traits)


@contextmanager
def running(*command, **options):
    child = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_program_is_told_with_its_file_and_its_environment():
    environment = {"LD_AUDIT": "", "x": "LD_PRELOAD=", "HTTPS_PROXY": "p", "no_proxy": "q"}
    with running("/bin/sleep", "600", env=environment) as child:
        # Its parent goes on before all of a program is there.
        while not (program := program_of(child.pid)).traits:
            assert child.poll() is None
    status = Path("/bin/sleep").stat()
    assert program.path == os.path.realpath("/bin/sleep").encode()
    assert program.inode == status.st_ino
    assert program.device == os.major(status.st_dev) << 20 | os.minor(status.st_dev)
    assert program.mount_namespace == Path("/proc/self/ns/mnt").stat().st_ino
    assert program.traits == bits(events.TRAIT_LD_AUDIT, events.TRAIT_PROXY)


def test_a_deleted_program_keeps_its_path(tmp_path):
    path = tmp_path / "sleep"
    shutil.copy("/bin/sleep", path)
    with running(path, "600", env={}) as child:
        path.unlink()
        program = program_of(child.pid)
    assert (program.path, program.traits) == (bytes(path), bits(events.TRAIT_DELETED_FILE))


def test_a_program_in_memory_is_told_from_a_deleted_one():
    code = """
import os
fd = os.memfd_create("ghost", 0)
os.write(fd, open("/bin/sleep", "rb").read())
os.execve(f"/proc/self/fd/{fd}", ["ghost", "600"], {})
"""
    with running(sys.executable, "-S", "-c", code) as child:
        while program_of(child.pid).path != b"/memfd:ghost":
            assert child.poll() is None
        assert program_of(child.pid).traits == bits(events.TRAIT_MEMORY_FILE)


@pytest.mark.kernel
def test_a_folder_too_deep_to_be_told_does_not_hide_the_others(tmp_path):
    code = """
import os, sys, time
for _ in range(60):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
print("deep", flush=True)
time.sleep(600)
"""
    with running(sys.executable, "-S", "-c", code, cwd=tmp_path) as child:
        assert child.stdout.readline() == b"deep\n"
        assert link(child.pid, "cwd") == b""
        found = {each.pid: each for each in running_processes()}
    subprocess.run(["rm", "-rf", tmp_path / ("d" * 200)], check=True)
    assert {child.pid, os.getpid()} <= found.keys()
    assert found[child.pid].working_directory == b""
