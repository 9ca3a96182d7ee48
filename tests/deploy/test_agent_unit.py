"""The agent's systemd unit: that it is one, and that the agent works with what it grants."""

import configparser
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.sensors.audit_netlink import AuditSocket
from agent.sensors.audit_rules import stale
from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver
from tests.agent.running import an_agent, changed, run, statuses

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "systemd"
UNIT = FOLDER / "nightherd-agent.service"
NOBODY = pwd.getpwnam("nobody").pw_uid
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing capabilities needs root")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def calls_of(filter_line: str) -> list[str]:
    """Return the names of the system calls that a SystemCallFilter allows."""
    calls: dict[str, None] = {}
    waiting = filter_line.split()
    while waiting:
        name = waiting.pop()
        if not name.startswith("@"):
            calls[name] = None
            continue
        said = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True
        ).stdout
        lines = [line.split("#")[0].strip() for line in said.splitlines()[1:]]
        waiting += [line for line in lines if line]
    return list(calls)


def confined(service: configparser.SectionProxy) -> list[str]:
    """Return what a command must begin with to have the rights of the unit, and no more."""
    capabilities = [name.lower().removeprefix("cap_") for name in _granted(service)]
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--bounding-set={kept}", f"--inh-caps={kept}", f"--ambient-caps={kept}"),
        *("--no-new-privs", "--", sys.executable, str(Path(__file__).with_name("confined.py"))),
        ",".join(calls_of(service["SystemCallFilter"])),
        ",".join(service["RestrictAddressFamilies"].split()),
    ]


def _granted(service: configparser.SectionProxy) -> list[str]:
    return service["CapabilityBoundingSet"].split()


@needs_systemd
def test_systemd_finds_no_fault_in_it(tmp_path):
    # A name without spaces, wherever this Python lies.
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    text = UNIT.read_text().replace("/opt/nightherd/bin/python", str(python))
    (tmp_path / UNIT.name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert UNIT.stem not in checked.stderr, checked.stderr


@needs_systemd
@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers")
def test_its_user_and_folder_can_be_made(tmp_path):
    for tool, file in (
        ("systemd-sysusers", "sysusers.conf"),
        ("systemd-tmpfiles", "tmpfiles.conf"),
    ):
        command = [tool, f"--root={tmp_path}", str(FOLDER / file)]
        (tmp_path / "etc").mkdir(exist_ok=True)
        subprocess.run([*command, *(["--create"] if "tmp" in tool else [])], check=True)
    assert "nightherd-agent:" in (tmp_path / "etc" / "passwd").read_text()
    assert (tmp_path / "etc" / "nightherd").stat().st_mode & 0o777 == 0o750


def test_what_it_may_is_what_it_keeps(service):
    assert service["AmbientCapabilities"].split() == _granted(service)
    assert service["NoNewPrivileges"] == "yes"
    assert not {"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE", "CAP_SETUID"} & set(
        _granted(service)
    )
    for hiding in ("PrivateTmp", "ProtectHome", "PrivateDevices", "ProtectProc", "PrivateUsers"):
        assert hiding not in service


@needs_root
@needs_systemd
@pytest.mark.kernel
async def test_the_agent_works_in_full_with_these_rights_and_no_others(
    tmp_path, tls, free_port, service
):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        for path in (tmp_path, *tmp_path.rglob("*")):
            if not path.name.startswith("tls-"):
                os.chown(path, NOBODY, NOBODY)
        agent.begin = confined(service)
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await agent.start()
            await receiver.until(
                lambda: any(status.self_test_passed for status in statuses(receiver)), 60
            )
            status = next(each for each in statuses(receiver) if each.self_test_passed)
            assert status.level == events.LEVEL_FULL
            # What this kernel refuses of what may be refused, and nothing else.
            assert all(each.startswith("Not seen here: ") for each in status.not_seen)
            said = Path(f"/proc/{agent.process.pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in said.splitlines())
            assert int(fields["Uid"].split()[0]) == NOBODY
            assert int(fields["CapEff"], 16).bit_count() == len(_granted(service))
            assert fields["CapBnd"] == fields["CapEff"]
            assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
            # Of somebody else, in a folder that is closed to it.
            secret = agent.watched / "closed"
            secret.mkdir(mode=0o700)
            os.chown(agent.watched, 0, 0)
            agent.watched.chmod(0o700)
            pid = await run("/bin/sh", "-c", f"echo x > {secret}/file")
            await receiver.until(lambda: changed(receiver, secret / "file"))
            image, event = changed(receiver, secret / "file")[0]
            assert image.pid == pid
            assert event.attribution in (
                events.ATTRIBUTION_EXACT,
                events.ATTRIBUTION_INFERRED,  # within a tick of its fork
            )
            assert await agent.end(signal.SIGTERM) == 0


@needs_root
@needs_systemd
@pytest.mark.kernel
def test_what_a_killed_agent_left_in_audit_is_removed_with_these_rights(service):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    tidy = [*confined(service), sys.executable, "-m", "agent", "tidy-audit"]
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        # One agent a machine can be the audit daemon; another one may take the place in between.
        if kill_a_daemon(environment) and stale(_rules()):
            tidied = subprocess.run(
                tidy, env=environment, capture_output=True, text=True, check=False
            )
            assert tidied.returncode == 0, tidied.stderr
            if "is gone" in tidied.stdout:
                assert not stale(_rules())
                again = subprocess.run(
                    tidy, env=environment, capture_output=True, text=True, check=False
                )
                assert "is gone" not in again.stdout
                return
        time.sleep(1)
    pytest.skip("another agent keeps the place of the audit daemon")


KILLED = """
import time
from agent.sensors.audit import AuditSensor
from agent.sensors.unavailable import SensorUnavailable
try:
    print(AuditSensor(processes=True).is_daemon, flush=True)
except SensorUnavailable:
    print(False, flush=True)
time.sleep(60)
"""


def kill_a_daemon(environment: dict[str, str]) -> bool:
    """Kill a process that watches by audit; return whether it had the daemon's place."""
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED], env=environment, stdout=subprocess.PIPE, text=True
    )
    is_daemon = killed.stdout.readline().strip() == "True"
    killed.kill()
    killed.communicate()
    return is_daemon


def _rules() -> list[bytes]:
    audit = AuditSocket()
    try:
        return audit.rules()
    finally:
        audit.close()
