"""How fast an audit log becomes sealed batches on disk, beside Debian's `ausearch --format csv`.

The log repeats recorded events (go-libaudit's and plaso's test data beside the project) with times
and serials that go on: logins, sudo, accounts, packages, calls of all kinds, each in small numbers.
A second one has only executions, as auditd writes them for `-S execve`, with names beside numbers
(enriched): of those ausearch makes a short line each, and we an image with its ancestors.
In the first, ausearch looks up numbers of users in the files of this machine, again and again,
which takes most of its time; in the second the log says their names. So the two are told apart.

Both read the same file, in turns, each in a process of its own; CPU time counts, start included.
"""

import gc
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.recordings import Logs, seal
from agent.spool import Spool
from agent.stages.seal import Host, Sealer
from benchmarks.results import CannotRun, Result
from nightherd.event.v1 import delivery_pb2 as pb

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
AUSEARCH = "/usr/bin/ausearch", "/usr/sbin/ausearch"
RECORDS, QUICK_RECORDS = 400_000, 100_000
ROUNDS, QUICK_ROUNDS = 5, 3
_STAMP = re.compile(rb"audit\((\d+)\.(\d+):(\d+)\)")
_SOURCES = (
    "go-libaudit/aucoalesce/testdata/*.yaml",
    "go-libaudit/auparse/testdata/*.log",
    "go-libaudit/testdata/normal.log",
    "host-logs/audit_enriched.log",
)


def results(*, quick: bool = False) -> list[Result]:
    """Measure and return what was found."""
    return list(run(quick=quick))


def run(*, quick: bool) -> Iterator[Result]:
    """Yield results as they are found.

    Raises:
        CannotRun: There is no ausearch, or there are no recorded events.
    """
    ausearch = next((path for path in AUSEARCH if Path(path).exists()), None)
    if ausearch is None:
        raise CannotRun("ausearch is not installed (apt-get install auditd)")
    with tempfile.TemporaryDirectory(prefix="nightherd-bench-") as folder:
        log = Path(folder) / "audit.log"
        for name, events in (("", recorded()), ("executions.", executions())):
            count = write(log, events, QUICK_RECORDS if quick else RECORDS)
            ours, theirs = [], []
            for _ in range(QUICK_ROUNDS if quick else ROUNDS):
                theirs.append(count / _cpu([ausearch, "--format", "csv", "-if", str(log)]))
                spool = Path(folder) / "spool"
                ours.append(
                    count
                    / _cpu([sys.executable, "-m", "benchmarks.audit_import", str(log), str(spool)])
                )
                shutil.rmtree(spool)
            rate, baseline = statistics.median(ours), statistics.median(theirs)
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            yield Result(f"audit_import.{name}records_per_s", rate, "records/s", None, baseline)
            yield Result(f"audit_import.{name}ratio_to_ausearch", ratio, "x", 1.0)


def recorded() -> list[list[bytes]]:
    """Return recorded events, each the lines that belong together.

    Raises:
        CannotRun: They are not beside the project.
    """
    events: dict[bytes, list[bytes]] = {}
    for pattern in _SOURCES:
        for path in sorted(DATA.glob(pattern)):
            for line in path.read_bytes().splitlines():
                found = _STAMP.search(line)
                if found and line.lstrip().startswith(b"type="):
                    events.setdefault(found[0], []).append(line.strip())
    if not events:
        raise CannotRun(f"there are no recorded events in {DATA}")
    return list(events.values())


_EXECUTION = """\
type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=59 success=yes exit=0 a0=55d796901910 \
a1=55d79690a0c0 a2=55d7968fcba0 a3=b2061e4a items=2 ppid={ppid} pid={pid} auid=1001 uid=1001 \
gid=1001 euid=1001 suid=1001 fsuid=1001 egid=1001 sgid=1001 fsgid=1001 tty=pts1 ses=3 \
comm="{program}" exe="/usr/bin/{program}" subj=unconfined key="exec"\x1dARCH=x86_64 \
SYSCALL=execve AUID="alice" UID="alice" GID="alice" EUID="alice" SUID="alice" FSUID="alice" \
EGID="alice" SGID="alice" FSGID="alice"
type=EXECVE msg=audit(1.000:1): argc=3 a0="{program}" a1="-{pid}" a2="/srv/data"
type=CWD msg=audit(1.000:1): cwd="/home/alice"
type=PATH msg=audit(1.000:1): item=0 name="/usr/bin/{program}" inode=260850 dev=fe:00 mode=0100755 \
ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0\x1d\
OUID="root" OGID="root"
type=PATH msg=audit(1.000:1): item=1 name="/lib64/ld-linux-x86-64.so.2" inode=338944 dev=fe:00 \
mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0\x1d\
OUID="root" OGID="root"
type=PROCTITLE msg=audit(1.000:1): proctitle=6C73002D6C61002F737276
"""


def executions() -> list[list[bytes]]:
    """Return executions by one shell, as auditd of Debian 12 writes them; pids come again late."""
    programs = ("ls", "sed", "grep", "id")
    run = [(1, 4990, "bash"), *((4990, 5000 + n, programs[n % 4]) for n in range(4000))]
    return [
        _EXECUTION.format(ppid=ppid, pid=pid, program=program).encode().splitlines()
        for ppid, pid, program in run
    ]


def write(log: Path, events: list[list[bytes]], at_least: int) -> int:
    """Write events again and again, each with a time and serial of its own; return the records."""
    count, serial, milliseconds = 0, 1000, 1_700_000_000_000
    with log.open("wb") as file:
        while count < at_least:
            for lines in events:
                serial, milliseconds = serial + 1, milliseconds + 7
                stamp = b"audit(%d.%03d:%d)" % (*divmod(milliseconds, 1000), serial)
                file.writelines(_STAMP.sub(stamp, line, count=1) + b"\n" for line in lines)
                count += len(lines)
    return count


def _cpu(command: list[str]) -> float:
    """Return the seconds of CPU that a command takes."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CannotRun(f"{command[0]} ended with {process.returncode}: {said[-500:].decode()}")
    return usage.ru_utime + usage.ru_stime


def _import(log: Path, folder: Path) -> None:
    """Do what `agent replay --format auditd` does, but for shipping."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as agent replay does
    spool = Spool(folder, 1 << 30)
    host = Host("import-1", "default", str(uuid.UUID(int=0)), "bench", pb.ORIGIN_IMPORTED)
    sealer = Sealer(host, Ed25519PrivateKey.generate(), spool.link)
    for part in Logs([log], print).parts():
        seal(part, sealer, spool)
    spool.close()


if __name__ == "__main__":
    _import(Path(sys.argv[1]), Path(sys.argv[2]))
