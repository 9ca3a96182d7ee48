"""Each kind of event, from this kernel to what the agent tells of it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.sensors.udp import UdpSensor
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sensing import sensing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]
F = events.FileChange


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="nhk", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def host(tmp_path, folder):
    with sensing(tmp_path, f"{folder}/*", "/var/lib/dpkg/status") as opened:
        yield opened


def run(*command, **options):
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    process.communicate(timeout=60)
    return process


def by(host, kind, pid):
    return [(image, event) for image, event in host.told(kind) if image.pid == pid]


def changes(host, path):
    return [
        (image, event, change)
        for image, event in host.told("file_change")
        for change in event.file_change.changes
        if change.path == bytes(path)
    ]


def test_the_end_of_a_process_has_its_code_or_signal_and_its_lifetime(host):
    ended = run("/bin/sh", "-c", "sleep 0.2; exit 7")
    killed = run("/bin/sh", "-c", "kill -9 $$")
    host.until(lambda: by(host, "exit", ended.pid) and by(host, "exit", killed.pid))
    ((_, first),) = by(host, "exit", ended.pid)
    ((_, second),) = by(host, "exit", killed.pid)
    assert (first.exit.code, first.exit.signal) == (7, 0)
    assert 200 <= first.exit.lifetime_ms < 20_000
    assert (second.exit.HasField("code"), second.exit.signal) == (False, 9)


def test_arguments_that_are_too_long_are_cut_and_it_says_so(host):
    long = run("/bin/true", "x" * 10_000)
    short = run("/bin/true", "x" * 1000)
    host.until(lambda: by(host, "exec", long.pid) and by(host, "exec", short.pid))
    ((cut, _),) = by(host, "exec", long.pid)
    ((whole, _),) = by(host, "exec", short.pid)
    assert cut.arguments_cut
    assert sum(map(len, cut.arguments)) <= 4096
    assert not whole.arguments_cut
    assert list(whole.arguments) == [b"/bin/true", b"x" * 1000]


def test_what_one_program_changes_is_one_event(host, folder):
    names = [folder / name for name in ("passwd", "shadow", "group")]
    process = run("/usr/bin/touch", *map(str, names))
    host.until(lambda: changes(host, names[-1]))
    told = [event for image, event in host.told("file_change") if image.pid == process.pid]
    assert len(told) == 1
    paths = {change.path for change in told[0].file_change.changes}
    assert paths == {bytes(name) for name in names}


def test_owner_mode_link_and_rename_are_told_with_who_did_it(host, folder):
    (folder / "f").touch()
    for command in (
        ("chown", "4711:4712", folder / "f"),
        ("chmod", "4755", folder / "f"),
        ("ln", folder / "f", folder / "g"),
        ("mv", folder / "g", folder / "h"),
    ):
        process = run(*map(str, command))
        host.until(lambda process=process: by(host, "file_change", process.pid))
    told = changes(host, folder / "f") + changes(host, folder / "g") + changes(host, folder / "h")
    done = {image.executable.rpartition(b"/")[2]: change for image, _, change in told}
    owner, mode, link, move = (done[name] for name in (b"chown", b"chmod", b"ln", b"mv"))
    assert (owner.operation, owner.owner_id, owner.group_id) == (
        F.OPERATION_ATTRIBUTES,
        4711,
        4712,
    )
    assert (mode.operation, mode.mode) == (F.OPERATION_ATTRIBUTES, 0o4755)
    assert link.operation == F.OPERATION_LINKED
    assert (move.operation, move.previous_path) == (F.OPERATION_RENAMED, bytes(folder / "g"))
    assert move.mode == 0o4755


@pytest.mark.parametrize("program", ["/usr/bin/su", "/usr/bin/sudo"])
@pytest.mark.parametrize("audited", [True, False])
def test_su_and_sudo_tell_once_whose_rights_they_gave(host, program, audited):
    if not Path(program).exists():
        pytest.skip(f"{program} is not installed")
    if not audited:  # as on a host where audit is denied
        for sensor in [each for each in host.sensors.sensors if each.name == "audit"]:
            host.sensors.sensors.remove(sensor)
            sensor.close()
    elif not any(each.name == "audit" for each in host.sensors.sensors):
        pytest.skip("no audit here")
    words = ["-u", "nobody", "/usr/bin/id", "-u"]
    if program.endswith("su"):
        words = ["nobody", "-s", "/bin/sh", "-c", "/usr/bin/id -u"]
    process = run(program, *words)
    assert process.returncode == 0
    host.until(lambda: by(host, "exit", process.pid))
    host.until(lambda: host.told("privilege_use"))
    uses = [
        (image, event)
        for image, event in host.told("privilege_use")
        if process.pid in (image.pid, *(above.pid for above in host.above(image)))
    ]
    ((image, event),) = uses
    assert image.executable == program.encode()
    assert event.privilege_use.target_user == "nobody"
    assert event.privilege_use.command.endswith(b"/usr/bin/id -u")
    exact, inferred = events.ATTRIBUTION_EXACT, events.ATTRIBUTION_INFERRED
    assert event.attribution == (exact if audited else inferred)


def test_a_refused_su_is_told(host):
    if not any(each.name == "audit" for each in host.sensors.sensors):
        pytest.skip("no audit here")
    process = run(
        "/usr/bin/setpriv",
        *("--reuid=65534", "--regid=65534", "--clear-groups"),
        *("/usr/bin/su", "root", "-c", "true"),
        stdin=subprocess.DEVNULL,
    )
    assert process.returncode != 0
    host.until(lambda: by(host, "auth_failure", process.pid))
    _, event = by(host, "auth_failure", process.pid)[0]
    assert event.auth_failure.account == b"root"
    assert event.auth_failure.program == b"/usr/bin/su"
    assert not by(host, "privilege_use", process.pid)


def test_a_bpf_program_that_another_loads_is_told(host):
    if not any(each.name == "audit" for each in host.sensors.sensors):
        pytest.skip("no audit here")
    code = "from agent.sensors.bpf import BpfSensor; BpfSensor().close()"
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'gen'}"}
    assert run(sys.executable, "-c", code, env=environment, cwd=root).returncode == 0

    def both():
        found = [event.kernel_change for _, event in host.told("kernel_change")]
        loaded = {c.program_id for c in found if c.action == c.ACTION_BPF_LOADED}
        return loaded & {c.program_id for c in found if c.action == c.ACTION_BPF_UNLOADED}

    assert host.until(both)


def test_a_table_of_the_packet_filter_is_told_with_who_made_it(host):
    if not any(each.name == "audit" for each in host.sensors.sensors):
        pytest.skip("no audit here")
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    # What `nft add table ip nhtest` sends, in a network namespace of its own.
    code = (
        "import socket, struct\n"
        "def message(kind, flags, family, subsystem, body=b''):\n"
        "    content = struct.pack('>BBH', family, 0, subsystem) + body\n"
        "    return struct.pack('=IHHII', 16 + len(content), kind, flags, 1, 0) + content\n"
        "name = struct.pack('=HH', 11, 1) + b'nhtest\\0\\0'\n"
        "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)\n"
        "s.bind((0, 0))\n"
        "s.send(message(16, 1, 0, 10) + message(10 << 8, 0x405, 2, 0, name)"
        " + message(17, 1, 0, 10))\n"
        "raise SystemExit(struct.unpack_from('=i', s.recv(4096), 16)[0] != 0)\n"
    )
    process = run("/usr/bin/unshare", "-n", sys.executable, "-c", code)
    if process.returncode:
        pytest.skip("this kernel has no nf_tables")

    def told():
        return [
            (image, event)
            for image, event in by(host, "firewall_change", process.pid)
            if event.firewall_change.table.startswith("nhtest")
        ]

    host.until(told)
    image, event = told()[0]
    assert event.firewall_change.operation == "nft_register_table"
    assert event.attribution == events.ATTRIBUTION_EXACT
    assert image.executable.startswith(os.path.realpath(sys.executable).encode())


def test_a_module_command_that_succeeds_is_told_as_a_conclusion(host, folder):
    insmod = folder / "insmod"
    shutil.copy("/bin/true", insmod)
    loaded = run(str(insmod), "/lib/evil-kit.ko", "debug=1")
    shutil.copy("/bin/false", folder / "rmmod")
    failed = run(str(folder / "rmmod"), "evil_kit")
    host.until(lambda: by(host, "exit", failed.pid))
    ((_, event),) = by(host, "kernel_change", loaded.pid)
    assert event.kernel_change.name == "evil_kit"
    assert event.attribution == events.ATTRIBUTION_INFERRED
    assert not by(host, "kernel_change", failed.pid)


def test_a_udp_port_that_is_opened_later_is_told(host):
    sensors = host.sensors.sensors
    (place,) = (at for at, each in enumerate(sensors) if isinstance(each, UdpSensor))
    sensors[place] = UdpSensor(every_ns=0)
    code = (
        "import socket, sys\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        port = int(process.stdout.readline())
        host.until(lambda: by(host, "listen", process.pid))
    finally:
        process.communicate(timeout=60)
    ((_, event),) = by(host, "listen", process.pid)
    assert (event.listen.protocol, event.listen.local_port) == (events.PROTOCOL_UDP, port)
    assert event.attribution == events.ATTRIBUTION_INFERRED


def test_packages_that_dpkg_installs_and_removes_are_told(host, folder, tmp_path):
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg here")
    name = f"nh-test-{os.getpid()}"
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    for version in ("1.0", "1.1"):
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: Nobody <nobody@example.org>\nDescription: nothing\n"
        )
        run("/usr/bin/dpkg-deb", "--build", str(tree), str(tmp_path / f"{version}.deb"))
    actions = events.PackageChange

    def told(action):
        return [
            (image, event)
            for image, event in host.told("package_change")
            if event.package_change.name == name and event.package_change.action == action
        ]

    try:
        for command, action, version, before in (
            (("-i", str(tmp_path / "1.0.deb")), actions.ACTION_INSTALLED, "1.0", ""),
            (("-i", str(tmp_path / "1.1.deb")), actions.ACTION_UPGRADED, "1.1", "1.0"),
            (("-r", name), actions.ACTION_REMOVED, "", "1.1"),
        ):
            process = run("/usr/bin/dpkg", *command)
            assert process.returncode == 0
            host.until(lambda action=action: told(action))
            ((image, event),) = told(action)
            assert image.pid == process.pid
            if event.attribution == events.ATTRIBUTION_EXACT:
                assert image.executable == b"/usr/bin/dpkg"
                assert image.maintenance
            else:
                # Within a tick of its fork: a package manager does not win over who started it.
                assert event.attribution == events.ATTRIBUTION_INFERRED
                assert not image.maintenance
            change = event.package_change
            assert (change.version, change.previous_version) == (version, before)
    finally:
        run("/usr/bin/dpkg", "--purge", name)


def test_what_a_program_changed_stands_before_its_end(host, folder):
    path = folder / "short"
    subprocess.run(["/usr/bin/touch", str(path)], check=True)

    def told():
        changes = [
            (image, event)
            for image, event in host.told("file_change")
            if any(change.path == bytes(path) for change in event.file_change.changes)
        ]
        ends = {image.exec_id: event for image, event in host.told("exit")}
        return [(e, ends[i.exec_id]) for i, e in changes if i.exec_id in ends]

    change, end = host.until(told)[0]
    assert change.event_time.ToNanoseconds() <= end.event_time.ToNanoseconds()
