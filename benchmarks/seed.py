"""From a change of the accounts to its alert over REST, measured in executions of `true`.

A person, simulated by a login uid and a session of its own, adds an account; the alert that says so
is waited for where anybody would look for it. Hosts differ by a factor of fifty, emulated ones are
the slowest: how long the host takes to start `true` is the unit that can be compared.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.installation import Questions, installation
from benchmarks.loads import TRUE
from benchmarks.results import CannotRun, Result

ROUNDS, QUICK_ROUNDS = 10, 3
FORKS = 200
LOOK_S = 0.005
ALERT_S = 120.0
TARGET_MS = 500
_PERSON = """
import os, sys
os.setsid()
with open("/proc/self/loginuid", "w") as file:
    file.write(sys.argv[1])
os.execvp(sys.argv[2], sys.argv[2:])
"""


def run(*, quick: bool, home: Path | None = None) -> Iterator[Result]:
    """Measure with the Nightherd that runs from `home`, or else one that is started here.

    Raises:
        CannotRun: Not as root, or there is no useradd, or no alert comes.
    """
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        raise CannotRun("adding accounts needs root and useradd")
    with installation(home) as questions, _accounts() as names:
        person = next(names)
        subprocess.run(["useradd", "-M", person], check=True)
        uid = pwd.getpwnam(person).pw_uid
        latencies, forks = [], []
        for number in range(1 + (QUICK_ROUNDS if quick else ROUNDS)):
            seconds, fork = _until_alert(questions, uid, next(names)), fork_exec_s()
            if not number:
                continue  # what is loaded at the first question is not counted
            latencies.append(seconds)
            forks.append(fork)
            print(f"  {1000 * seconds:.0f} ms, true {1000 * fork:.2f} ms", flush=True)
    middle, unit = median(latencies), median(forks)
    yield Result("seed.fork_exec_true_ms", 1000 * unit, "ms")
    yield Result("seed.alert_latency_ms", 1000 * middle, "ms", TARGET_MS)
    yield Result("seed.alert_latency_worst_ms", 1000 * max(latencies), "ms")
    yield Result("seed.alert_latency_in_true", middle / unit, "fork+exec")


def fork_exec_s() -> float:
    """Return what it takes to start `true` and to wait for its end: the median of many."""
    found = []
    for _ in range(FORKS):
        began = time.perf_counter()
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)
        found.append(time.perf_counter() - began)
    return median(found)


@contextmanager
def _accounts() -> Iterator[Iterator[str]]:
    """Give names of accounts that nobody has; whatever was made of them is removed."""
    used: list[str] = []

    def names() -> Iterator[str]:
        while True:
            used.append(f"nhb{secrets.token_hex(4)}")
            yield used[-1]

    try:
        yield names()
    finally:
        for name in used:
            subprocess.run(["userdel", "-f", name], check=False, capture_output=True)


def _until_alert(questions: Questions, uid: int, account: str) -> float:
    """Add an account as the person `uid`; seconds from the change to the alert about it."""
    command = [sys.executable, "-c", _PERSON, str(uid), "useradd", "-M", account]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CannotRun(f"no account can be added as a person: {done.stderr.strip()[-300:]}")
    changed = Path("/etc/passwd").stat().st_ctime
    deadline = time.time() + ALERT_S
    while True:
        alerts = questions.get("audits/runtime/host", search=account)
        now = time.time()
        if any(account in f"{alert.get('msg')} {alert.get('accounts')}" for alert in alerts):
            return now - changed
        if now > deadline:
            raise CannotRun(f"no alert came within {ALERT_S:.0f} s")
        time.sleep(LOOK_S)
