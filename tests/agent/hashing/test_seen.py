"""From this kernel to what the agent tells of contents: programs that run, files that change."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from agent.hashing.hashing import Hashing
from nightherd.event.v1 import event_pb2 as events
from tests.agent.hashing.files import digest
from tests.agent.sensing import sensing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="nhh", dir="/var/tmp"))
    shutil.copy(shutil.which("true"), path / "tool")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def host(tmp_path, folder):
    with sensing(tmp_path, f"{folder}/*") as opened:
        hashing = Hashing.of_this_host(64 << 20, 100)
        opened.pipeline.hash_with(hashing)
        yield opened


def hashes(host, path):
    return [
        (image, event.file_hash)
        for image, event in host.told("file_hash")
        if event.file_hash.path == bytes(path)
    ]


def of_folder(host, folder):
    return [
        (told.path, told.sha256, told.refusal, told.reason, told.changed_time.ToNanoseconds())
        for _, event in host.told("file_hash")
        if (told := event.file_hash).path.startswith(bytes(folder))
    ]


def test_a_program_that_ran_and_a_file_that_changed_are_told_with_who_did_it(host, folder):
    program, config = folder / "tool", folder / "config"
    ran = subprocess.Popen([str(program)])
    ran.wait()
    script = subprocess.Popen(["/bin/sh", "-c", f"echo secret > {config}"])
    script.wait()
    host.until(lambda: hashes(host, program) and hashes(host, config))
    ((image, told),) = hashes(host, program)
    assert told.reason == events.FileHash.REASON_EXECUTED
    assert (image.pid, image.executable) == (ran.pid, bytes(program))
    assert told.sha256 == digest(program.read_bytes())
    if image.inode:
        assert (told.device, told.inode) == (image.device, image.inode)
    image, told = hashes(host, config)[-1]
    assert (image.pid, told.sha256) == (script.pid, digest(b"secret\n"))
    assert told.reason == events.FileHash.REASON_CHANGED


def test_what_ran_before_is_told_once(host):
    program = Path("/proc/self/exe").resolve()
    host.until(lambda: hashes(host, program))
    (told,) = {told.sha256 for _, told in hashes(host, program)}
    assert told == digest(program.read_bytes())


def test_hashing_causes_no_events(host, folder):
    for number in range(20):
        (folder / f"{number}").write_bytes(b"%d" % number)
    host.until(lambda: all(hashes(host, folder / f"{number}") for number in range(20)))
    host.until(lambda: host.pipeline.hashing.idle)
    pid = host.pipeline.hashing.pid
    before = of_folder(host, folder)
    for _ in range(40):
        host.pipeline.tick()
        time.sleep(0.05)
    assert of_folder(host, folder) == before
    mine = [event for image, event in host.told("file_change") if image.pid == pid]
    assert pid
    assert mine == []
