"""How programs run: from where, with which environment, in which namespace; and mere forks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nightherd.event.v1 import event_pb2 as events

pytestmark = pytest.mark.kernel
CLEAN = {"PATH": "/usr/bin:/bin"}


def traits(host, pid, last=True):
    host.all("exec", pid)
    return set(host.of("exec", pid)[-1 if last else 0][0].traits)


def test_an_ordinary_program_has_no_traits_and_names_its_file(host):
    pid = host.run("/bin/true", env=CLEAN)
    image, _ = host.first("exec", pid)
    status = Path("/bin/true").stat()
    assert list(image.traits) == []
    assert image.inode == status.st_ino
    assert image.device == os.major(status.st_dev) << 20 | os.minor(status.st_dev)
    assert image.mount_namespace == Path("/proc/self/ns/mnt").stat().st_ino


def test_a_program_in_memory_is_told(host):
    code = """
fd = os.memfd_create("ghost", 0)
os.write(fd, open("/bin/true", "rb").read())
os.execve(f"/proc/self/fd/{fd}", ["ghost"], {})
"""
    assert traits(host, host.do(code)) == {events.TRAIT_MEMORY_FILE}


@pytest.mark.parametrize("linked", [False, True])
def test_a_deleted_program_is_told(host, linked):
    path = Path("/usr/local/bin") / f"nhs{os.getpid()}"
    other = path.with_suffix(".other")
    shutil.copy("/bin/true", path)
    if linked:
        os.link(path, other)
    code = """
fd = os.open(sys.argv[1], os.O_RDONLY)
os.remove(sys.argv[1])
os.execve(fd, ["x"], {})
"""
    try:
        assert traits(host, host.do(code, path)) == {events.TRAIT_DELETED_FILE}
    finally:
        other.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("where", "trait"),
    [("/dev/shm", events.TRAIT_SHARED_MEMORY_FILE), ("/tmp", events.TRAIT_TEMPORARY_FILE)],
)
def test_a_program_in_a_temporary_folder_is_told(host, where, trait):
    path = Path(where) / f"nhs{os.getpid()}"
    shutil.copy("/bin/true", path)
    try:
        assert traits(host, host.run(path, env=CLEAN)) == {trait}
    except PermissionError:
        pytest.skip(f"{where} is mounted without execution")
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "trait"),
    [
        ("LD_PRELOAD", events.TRAIT_LD_PRELOAD),
        ("LD_AUDIT", events.TRAIT_LD_AUDIT),
        ("LD_LIBRARY_PATH", events.TRAIT_LD_LIBRARY_PATH),
        ("GLIBC_TUNABLES", events.TRAIT_GLIBC_TUNABLES),
        ("http_proxy", events.TRAIT_PROXY),
        ("HTTPS_PROXY", events.TRAIT_PROXY),
        ("all_proxy", events.TRAIT_PROXY),
        ("LD_PRELOADED", None),
        ("XLD_PRELOAD", None),
        ("no_proxy", None),
        ("LD_BIND_NOW", None),
    ],
)
def test_variables_that_change_how_a_program_runs_are_flags(host, name, trait):
    environment = {f"FILLER{number}": "x" * number * 50 for number in range(60)}
    pid = host.run("/bin/true", env={**environment, name: "", "LAST": "LD_AUDIT=/x"})
    assert traits(host, pid) == ({trait} if trait else set())


def test_a_variable_behind_one_that_is_longer_than_we_read_at_once_is_a_flag(host):
    long = "x" * 5000 + "LD_AUDIT="
    pid = host.run("/bin/true", env={"A": long, "LD_PRELOAD": ""})
    assert traits(host, pid) == {events.TRAIT_LD_PRELOAD}


def test_another_mount_namespace_is_told(host):
    pid = host.run("unshare", "-m", "/bin/true", env=CLEAN)
    assert traits(host, pid, last=False) == set()
    assert traits(host, pid) == {events.TRAIT_OTHER_MOUNT_NAMESPACE}


def test_a_shell_that_only_forked_is_an_image_with_its_end(host):
    # The inner shell forks and goes on as it is; what it starts must lead to it.
    pid = host.run("/bin/sh", "-c", "(setsid /bin/sh -c '/bin/echo deep; :' & :; exit 3); :")
    host.until(
        lambda: [made for made in host.made if made.kind == "exec" and b"deep" in _words(made)]
    )
    ((shell, _),) = host.of("exec", pid)
    (made,) = [made for made in host.made if made.kind == "exec" and b"deep" in _words(made)]
    known = {each.image.exec_id: each for each in host.made if each.kind in ("exec", "fork")}
    image, line = made.image, []
    while image.parent_exec_id in known:
        line.append(known[image.parent_exec_id])
        image = line[-1].image
    assert line[-1].image.exec_id == shell.exec_id
    forked = [each for each in line if each.kind == "fork"]
    assert forked
    for each in forked:
        assert events.TRAIT_FORKED in each.image.traits
        assert each.image.executable == shell.executable
        assert each.event.event_time.ToNanoseconds() == each.image.start_time.ToNanoseconds()
        end = host.of("exit", each.image.pid)
        assert [ended.exec_id for ended, _ in end][:1] == [each.image.exec_id] or image.pid


def _words(made):
    return b" ".join(made.image.arguments).split()


def test_forks_that_nobody_names_are_not_told(host):
    pid = host.run("/bin/sh", "-c", "(exit 3); (exit 4); /bin/true; :")
    host.all("exec", pid)
    children = {made.image.pid for made in host.made if made.image and made.image.ppid == pid}
    assert not [made for made in host.made if made.kind == "fork" and made.image.pid in children]


def test_a_fork_that_does_something_is_told_before_it_and_its_end_after(host):
    code = """
pid = os.fork()
if not pid:
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
    os._exit(5)
os.waitpid(pid, 0)
print(pid, flush=True)
"""
    child = subprocess.Popen(
        [os.sys.executable, "-S", "-c", "import os, socket\n" + code], stdout=subprocess.PIPE
    )
    pid = int(child.communicate(timeout=60)[0])
    host.until(lambda: host.of("exit", pid))
    kinds = [made.kind for made in host.made if made.image is not None and made.image.pid == pid]
    assert kinds == ["fork", "listen", "exit"]
    ((image, event),) = host.of("exit", pid)
    assert event.exit.code == 5
    assert image.parent_exec_id == host.of("exec", child.pid)[0][0].exec_id
