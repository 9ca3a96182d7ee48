"""The peers that Debian has: auditd with an execve rule, alone and with LAUREL as its plugin.

They get a configuration of their own, and what they change in the kernel is put back.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.sensors.audit_netlink import AuditSocket
from benchmarks import usage
from benchmarks.live_agent import stop
from benchmarks.loads import TRUE, Loads, Ran
from benchmarks.results import CannotRun

AUDITD, AUDITCTL, LAUREL = "/usr/sbin/auditd", "/usr/sbin/auditctl", "/usr/sbin/laurel"
_RULE = ("exit,always", "-F", "arch=b64", "-S", "execve", "-k", "nightherd-bench")
_NO_CONTEXTS = ("task,never",)
_BACKLOG = 8192
"""As Debian's own rules have it; the kernel's 64 would lose at once."""
_START_S, _SETTLE_S, _VACANT_S = 10.0, 10.0, 15.0
_LOCKED = 2
_CONFIGURATION = """\
local_events = yes
write_logs = yes
log_file = {folder}/audit.log
log_group = root
log_format = ENRICHED
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 1000
num_logs = 2
max_log_file_action = IGNORE
priority_boost = 4
name_format = NONE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
q_depth = 2000
overflow_action = IGNORE
max_restarts = 2
plugin_dir = {folder}/plugins.d
end_of_event_timeout = 2
"""
"""Debian's auditd.conf, but for where the log is and that it is not rotated: it is counted."""
_PLUGIN = """\
active = yes
direction = out
path = {laurel}
type = always
args = --config {folder}/laurel.toml
format = string
"""
_LAUREL = """\
directory = "{folder}/laurel"
statusreport-period = 0
[auditlog]
file = "audit.log"
size = 1000000000
generations = 1
[transform]
execve-argv = [ "array" ]
[translate]
universal = false
user-db = false
[enrich]
pid = true
execve-env = [ "LD_PRELOAD", "LD_LIBRARY_PATH" ]
container = true
script = true
"""
"""Debian's laurel config.toml, but for where the log is and labels that match nothing here."""


def cpu_percent(folder: Path, loads: Loads, rate: float, seconds: float, *, laurel: bool) -> float:
    """CPU of auditd, kauditd and (with `laurel`) LAUREL at `rate` executions a second.

    Raises:
        CannotRun: One is not installed, another audit daemon runs, or it did not see the load:
            then its number would not be comparable.
    """
    folder.mkdir()
    with _auditd(folder, laurel=laurel) as pids:
        meter = usage.Meter(*pids)
        ran = loads.spawn(rate, seconds, TRUE, "nightherd-peer", spawners=2)
        log = folder / "laurel/audit.log" if laurel else folder / "audit.log"
        seen = _settled(log, b'"SYSCALL":' if laurel else b"type=SYSCALL", ran)
        percent = meter.percent(ran.nominal_s(rate))
    if seen < 0.99 * ran.count:
        raise CannotRun(f"it saw {seen} of {ran.count} executions: its cost is not comparable")
    return percent


def _settled(log: Path, mark: bytes, ran: Ran) -> int:
    """Wait until every execution is in the log, or it grows no more; how many are."""
    seen, quiet_since, deadline = 0, time.monotonic(), time.monotonic() + _SETTLE_S
    while seen < ran.count and time.monotonic() < min(deadline, quiet_since + 2):
        time.sleep(0.5)
        now = sum(
            mark in line and b"nightherd-bench" in line
            for line in (log.read_bytes() if log.exists() else b"").splitlines()
        )
        if now != seen:
            seen, quiet_since = now, time.monotonic()
    return seen


@contextmanager
def _auditd(folder: Path, *, laurel: bool) -> Iterator[list[int]]:
    """auditd with our configuration and the execve rule; pids whose CPU is its cost."""
    for program in (AUDITD, AUDITCTL, *((LAUREL,) if laurel else ())):
        if not Path(program).exists():
            raise CannotRun(f"{program} is not installed (apt-get install auditd laurel)")
    if os.geteuid() != 0:
        raise CannotRun("auditd needs root")
    (folder / "plugins.d").mkdir(mode=0o750)
    _write(folder / "auditd.conf", _CONFIGURATION.format(folder=folder))
    if laurel:
        (folder / "laurel").mkdir()
        _write(folder / "laurel.toml", _LAUREL.format(folder=folder))
        _write(folder / "plugins.d/laurel.conf", _PLUGIN.format(folder=folder, laurel=LAUREL))
    with _audit_as_it_was():
        log = folder / "output"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [AUDITD, "-n", "-c", folder], stdout=output, stderr=output, cwd=folder
            )
        try:
            _until_daemon(process, log)
            if not _auditctl("-a", *_RULE):
                raise CannotRun("the kernel does not take an execve rule")
            yield [process.pid, *_children(process.pid, wanted=laurel), _kauditd()]
        finally:
            _auditctl("-d", *_RULE)
            stop(process)


@contextmanager
def _audit_as_it_was() -> Iterator[None]:
    """Keep the kernel's audit settings, and put them back."""
    control = AuditSocket()
    try:
        deadline = time.monotonic() + _VACANT_S
        while (found := control.status()).daemon_pid:
            if time.monotonic() > deadline:
                raise CannotRun(f"another audit daemon runs (pid {found.daemon_pid})")
            time.sleep(0.5)
        if found.enabled == _LOCKED:
            raise CannotRun("audit is locked (-e 2) until reboot")
        # Our own rule may be left from an agent that was killed; auditd would see nothing with it.
        had_rule = _auditctl("-d", *_NO_CONTEXTS)
        try:
            control.set_backlog(max(_BACKLOG, found.backlog_limit), found.backlog_wait_time)
            yield
        finally:
            if had_rule:
                _auditctl("-a", *_NO_CONTEXTS)
            control.set_enabled(found.enabled)
            control.set_backlog(found.backlog_limit, found.backlog_wait_time)
    finally:
        control.close()


def _auditctl(*arguments: str) -> bool:
    return not subprocess.run([AUDITCTL, *arguments], check=False, capture_output=True).returncode


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o640)


def _until_daemon(process: subprocess.Popen, log: Path) -> None:
    control = AuditSocket()
    try:
        deadline = time.monotonic() + _START_S
        while control.status().daemon_pid != process.pid:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip()
                raise CannotRun(f"auditd does not start: {said or process.poll()}")
            time.sleep(0.05)
    finally:
        control.close()


def _children(pid: int, *, wanted: bool) -> list[int]:
    deadline = time.monotonic() + _START_S
    while wanted and not usage.children(pid):
        if time.monotonic() > deadline:
            raise CannotRun("auditd does not start LAUREL")
        time.sleep(0.05)
    return usage.children(pid)


def _kauditd() -> int:
    """The kernel's thread that hands records to the daemon: without auditd it does nothing."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text() == "kauditd\n":
                return int(folder.name)
        except OSError:
            continue
    raise CannotRun("there is no kauditd: a kernel without audit")
