"""Real files, friendly and hostile: what is told of their content, and that nobody is held up."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from agent.hashing import hasher as hasher_module
from agent.hashing import hashing as hashing_module
from agent.hashing.child import Patience
from agent.hashing.jobs import Job, kernel_device
from agent.hashing.known import AGAIN_NS, Known
from nightherd.event.v1 import event_pb2 as events
from tests.agent.hashing.files import digest, hashed
from tests.agent.hashing.unanswered import unanswered

Reason = events.FileHash
ROOT_WITH_FUSE = os.geteuid() == 0 and Path("/dev/fuse").exists()


def test_a_program_is_told_once_with_who_ran_it(tmp_path):
    program = tmp_path / "x"
    program.write_bytes(b"content")
    with hashed() as host:
        image = host.ran(program)
        (told,) = host.settled()
        for _ in range(3):
            host.ran(program)
            assert len(host.settled()) == 1
    status = program.stat()
    assert told.sha256 == digest(b"content")
    assert (told.path, told.size_bytes, told.refusal) == (bytes(program), 7, "")
    assert (told.device, told.inode) == (kernel_device(status.st_dev), status.st_ino)
    assert told.modified_time.ToNanoseconds() == status.st_mtime_ns
    assert told.changed_time.ToNanoseconds() == status.st_ctime_ns
    assert told.reason == Reason.REASON_EXECUTED
    assert host.made[0].ran.image is image
    assert host.made[0].event.attribution == events.ATTRIBUTION_EXACT
    assert not host.made[0].urgent


def test_a_program_with_another_content_is_told_again(tmp_path):
    program = tmp_path / "x"
    program.write_bytes(b"one")
    with hashed() as host:
        host.ran(program)
        host.until(1)
        program.write_bytes(b"two")
        host.ran(program)
        assert [each.sha256 for each in host.until(2)] == [digest(b"one"), digest(b"two")]


def test_a_script_is_hashed_beside_its_interpreter(tmp_path):
    script = tmp_path / "s"
    script.write_bytes(b"#!/bin/sh\n")
    with hashed(most_bytes=64 << 20) as host:
        host.ran(os.path.realpath("/bin/sh").encode(), script=bytes(script))
        told = {each.path: each.sha256 for each in host.until(2)}
    assert told[bytes(script)] == digest(b"#!/bin/sh\n")


def test_an_empty_file_has_a_hash_and_a_large_one_a_reason_why_not(tmp_path):
    empty, large, sparse = (tmp_path / name for name in ("empty", "large", "sparse"))
    empty.touch()
    large.write_bytes(b"x" * 4097)
    sparse.touch()
    os.truncate(sparse, 1 << 40)
    with hashed(most_bytes=4096) as host:
        for path in (empty, large, sparse):
            host.ran(path)
        told = {each.path: each for each in host.until(3)}
        host.ran(sparse)
        assert len(host.settled()) == 3
    assert told[bytes(empty)].sha256 == digest(b"")
    assert (told[bytes(large)].refusal, told[bytes(large)].sha256) == ("size", b"")
    assert (told[bytes(sparse)].refusal, told[bytes(sparse)].size_bytes) == ("size", 1 << 40)


def test_watched_files_that_change_are_hashed_and_those_that_go_are_not(tmp_path):
    config, gone = tmp_path / "c", tmp_path / "gone"
    config.write_bytes(b"1")
    change = events.FileChange
    with hashed() as host:
        host.changed(config, gone, operation=change.OPERATION_RENAMED)
        host.changed(tmp_path / "d", operation=change.OPERATION_DELETED)
        host.changed(tmp_path / "a", operation=change.OPERATION_ATTRIBUTES)
        host.changed(tmp_path, operation=change.OPERATION_CREATED, directory=True)
        told = {each.path: each for each in host.settled()}
    assert set(told) == {bytes(config), bytes(gone)}
    assert told[bytes(config)].sha256 == digest(b"1")
    assert told[bytes(config)].reason == Reason.REASON_CHANGED
    assert told[bytes(gone)].refusal == "gone"


def test_a_file_that_changes_all_the_time_is_hashed_now_and_then_and_at_last(tmp_path):
    config = tmp_path / "c"
    with hashed() as host:
        for number in range(50):
            config.write_bytes(b"%d" % number)
            host.changed(config)
            host.tick()
            time.sleep(0.01)
        host.until(1)
        for _ in range(200):
            if host.told[-1].sha256 == digest(b"49"):
                break
            host.tick(later_ns=hashing_module.REST_NS)
            time.sleep(0.05)
    assert host.told[-1].sha256 == digest(b"49")
    assert len(host.told) <= 3


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "link", "device", "loop"])
def test_what_is_no_file_says_nothing_and_holds_nobody_up(tmp_path, kind):
    odd, plain = tmp_path / "odd", tmp_path / "plain"
    plain.write_bytes(b"plain")
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(odd))
    elif kind == "folder":
        odd.mkdir()
    elif kind == "link":
        odd.symlink_to("/etc/shadow")
    elif kind == "loop":
        odd.symlink_to(odd)
    else:
        odd = Path("/dev/zero")
    with hashed() as host:
        host.changed(odd)
        host.changed(plain)
        told = host.settled()
    assert [each.path for each in told] == [bytes(plain)]


def test_a_path_below_a_link_is_what_it_leads_to_and_a_name_that_is_a_link_is_nothing(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "name").symlink_to(tmp_path / "real/x")
    with hashed() as host:
        host.ran(tmp_path / "link/x")
        host.ran(tmp_path / "name")
        told = host.settled()
    assert [each.path for each in told] == [bytes(tmp_path / "link/x")]


def test_another_file_of_the_name_is_not_what_ran(tmp_path):
    program = tmp_path / "x"
    program.write_bytes(b"evil")
    inode = program.stat().st_ino
    (tmp_path / "y").write_bytes(b"good")
    (tmp_path / "y").rename(program)
    with hashed() as host:
        host.ran(program, inode=inode)
        (told,) = host.settled()
    assert (told.refusal, told.sha256) == ("gone", b"")


def run_from(path, *arguments):
    shutil.copy(shutil.which("sleep"), path)
    return subprocess.Popen([str(path), *arguments])


def test_a_program_that_was_deleted_or_exchanged_is_read_while_it_runs(tmp_path):
    program = tmp_path / "x"
    content = Path(shutil.which("sleep")).read_bytes()
    running = run_from(program, "60")
    try:
        inode = program.stat().st_ino
        program.unlink()
        program.write_bytes(b"nothing to see")
        with hashed() as host:
            host.ran(program, pid=running.pid, inode=inode)
            (told,) = host.settled()
        with hashed() as host:  # an agent whose sensor does not tell inodes
            host.ran(program, pid=running.pid)
            (guessed,) = host.settled()
    finally:
        running.kill()
        running.wait()
    assert told.sha256 == guessed.sha256 == digest(content)


def test_a_program_in_memory_is_hashed(tmp_path):
    file = os.memfd_create("evil")
    content = Path(shutil.which("sleep")).read_bytes()
    os.write(file, content)
    running = subprocess.Popen([f"/proc/self/fd/{file}", "60"], pass_fds=(file,))
    try:
        name = bytes(Path(f"/proc/{running.pid}/exe").readlink())
        with hashed() as host:
            host.ran(name, pid=running.pid)
            (told,) = host.settled()
    finally:
        running.kill()
        running.wait()
        os.close(file)
    assert name.startswith(b"/memfd:evil")
    assert told.sha256 == digest(content)


def test_the_path_of_another_namespace_is_not_looked_at_here(tmp_path):
    program = tmp_path / "x"
    program.write_bytes(b"ours")
    with hashed(own_namespace=1) as host:
        host.ran(program, mount_namespace=2)
        host.ran(tmp_path / "y", container_id="ab" * 32)
        host.ran(program, mount_namespace=2)
        told = host.settled()
    assert [(each.refusal, each.sha256) for each in told] == [("unreadable", b"")] * 2


def test_a_file_that_is_written_while_it_is_read_is_said_to_change(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * (8 << 20))
    stop = threading.Event()

    def write():
        with large.open("r+b") as opened:
            while not stop.is_set():
                opened.seek(0)
                opened.write(os.urandom(64))
                opened.flush()
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with hashed(most_bytes=16 << 20, percent=30) as host:
            host.ran(large)
            (told,) = host.settled()
    finally:
        stop.set()
        writer.join()
    assert (told.refusal, told.sha256) == ("changing", b"")


def test_one_that_is_deleted_while_it_is_read_has_its_hash(tmp_path):
    large = tmp_path / "large"
    content = b"y" * (8 << 20)
    large.write_bytes(content)
    with hashed(most_bytes=16 << 20, percent=20) as host:
        host.ran(large)
        host.tick()
        while not host.hashing._hasher._waiting:
            time.sleep(0.002)
        large.unlink()
        (told,) = host.settled()
    assert told.sha256 == digest(content)


def test_too_many_are_left_out_and_counted(tmp_path):
    count = 3 * hashing_module.MOST_MET
    for number in range(count):
        (tmp_path / f"{number}").write_bytes(b"%d" % number)
    with hashed() as host:
        for number in range(count):
            host.ran(tmp_path / f"{number}")
        told = host.settled()
        left_out = host.hashing.take_left_out()
        assert host.hashing.take_left_out() == 0
    assert len(told) + left_out == count
    assert left_out >= count - hashing_module.MOST_MET
    assert all(each.sha256 == digest(each.path.rpartition(b"/")[2]) for each in told)


def test_few_files_are_open_whatever_waits(tmp_path):
    for number in range(400):
        (tmp_path / f"{number}").write_bytes(b"z" * (1 << 20))
    mine = psutil.Process()
    before = mine.num_fds()
    most = 0
    with hashed(percent=50) as host:
        for number in range(400):
            host.ran(tmp_path / f"{number}")
        host.tick()
        for _ in range(50):
            most = max(most, mine.num_fds() - before)
            time.sleep(0.01)
        host.settled()
    assert most <= 2 * hasher_module.MOST_WAITING + 10
    assert mine.num_fds() <= before


def test_it_has_the_lowest_priority_and_no_rights_and_ends_with_its_agent(tmp_path):
    program = tmp_path / "x"
    program.write_bytes(b"x")
    with hashed() as host:
        host.ran(program)
        host.settled()
        child = psutil.Process(host.hashing.pid)
        assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
        assert child.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
        if os.geteuid() == 0:
            assert child.uids().real == child.uids().saved == 65534
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert child.memory_info().rss < 20 << 20
    assert not child.is_running()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_where_it_may_not_become_nobody_it_has_no_capabilities(tmp_path):
    """As in the unit of the agent, whose capabilities are bounded."""
    code = (
        "from agent.hashing.worker import without_rights; without_rights();"
        "print([l for l in open('/proc/self/status') if l[:7] in ('CapEff:', 'CapPrm:')])"
    )
    bounded = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all", sys.executable]
    said = subprocess.run([*bounded, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.count("0000000000000000") == 2, said.stdout


def test_its_share_of_a_cpu_is_kept(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1 << 20) * 64)
    with hashed(most_bytes=1 << 30, percent=10) as host:
        small = tmp_path / "small"
        small.touch()
        host.ran(small)
        host.settled()  # it has started
        child = psutil.Process(host.hashing.pid)
        began, used = time.monotonic(), sum(child.cpu_times()[:2])
        host.ran(large)
        while len(host.told) < 2 and time.monotonic() - began < 5:
            host.tick()
            time.sleep(0.05)
        share = (sum(child.cpu_times()[:2]) - used) / (time.monotonic() - began)
    assert share < 0.2


def test_one_that_hangs_is_ended_and_the_rest_is_hashed(tmp_path):
    """The worker is stopped by a signal: to its agent that is a disk that does not answer."""
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"x" * (64 << 20))
    small.write_bytes(b"small")
    with hashed(most_bytes=64 << 20, percent=1, patience=Patience(1.5, 0)) as host:
        host.ran(large)
        host.tick()
        while not host.hashing._hasher._waiting:
            time.sleep(0.002)
        child = psutil.Process(host.hashing.pid)
        child.suspend()
        (told,) = host.until(1)
        assert (told.path, told.refusal) == (bytes(large), "unreadable")
        assert not child.is_running()
        host.changed(small)
        assert host.until(2)[1].sha256 == digest(b"small")


@pytest.mark.kernel
@pytest.mark.skipif(not ROOT_WITH_FUSE, reason="mounting a dead file server needs root and FUSE")
def test_a_dead_file_server_is_not_asked(tmp_path):
    folder, plain = tmp_path / "a b", tmp_path / "plain"
    folder.mkdir()
    plain.write_bytes(b"plain")
    with unanswered(folder), hashed() as host:
        host.ran(folder / "x")
        host.ran(plain)
        told = {each.path: each for each in host.settled()}
    assert told[bytes(folder / "x")].refusal == "unreadable"
    assert told[bytes(plain)].sha256 == digest(b"plain")


@pytest.mark.kernel
@pytest.mark.skipif(not ROOT_WITH_FUSE, reason="mounting a dead file server needs root and FUSE")
def test_one_that_is_reached_by_a_link_holds_up_a_thread_and_not_the_agent(tmp_path):
    folder, plain = tmp_path / "dead", tmp_path / "plain"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    plain.write_bytes(b"plain")
    with unanswered(folder), hashed(patience=Patience(stuck_s=0.5)) as host:
        host.ran(tmp_path / "link/x")
        host.tick()
        deadline = time.monotonic() + 30
        while not host.told:
            assert time.monotonic() < deadline
            host.ran(plain)
            began = time.monotonic()
            host.tick()
            assert time.monotonic() - began < 5
            time.sleep(0.05)
        assert host.told[0].sha256 == digest(b"plain")
        assert host.hashing.take_left_out() >= 1


def test_hostile_names_do_not_fill_the_memory():
    known = Known(100)
    for number in range(300):
        path = b"/" + b"x" * 4000 + b"%d" % number
        job = Job(path, None, Reason.REASON_EXECUTED, events.ATTRIBUTION_EXACT)
        assert known.find(job, None, 1) is None
        known.note(job, None, b"", "gone", 1)
        assert known.find(job, None, 2) == (b"", "gone", False)
        assert known.find(job, None, AGAIN_NS + 1) == (b"", "gone", True)
    assert len(known) == 100
    assert max(len(key[0]) for key in known._told) == 32
