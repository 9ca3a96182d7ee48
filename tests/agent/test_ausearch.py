"""An import beside what the audit project's own programs read in the same log."""

import csv
import io
import os
import shutil
import subprocess

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import an_ssh_login, executed, import_files, line, user

CHANGE = events.AccountChange
ACCOUNTS = {
    "ADD_USER": (CHANGE.ACTION_ADDED, CHANGE.SUBJECT_USER),
    "DEL_USER": (CHANGE.ACTION_REMOVED, CHANGE.SUBJECT_USER),
    "ADD_GROUP": (CHANGE.ACTION_ADDED, CHANGE.SUBJECT_GROUP),
    "DEL_GROUP": (CHANGE.ACTION_REMOVED, CHANGE.SUBJECT_GROUP),
}


@pytest.fixture(scope="session")
def ausearch():
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("ausearch", path=path)
    if program is None:
        pytest.skip("ausearch is not installed (apt-get install auditd)")
    return program


def found(ausearch, log, *conditions):
    """Rows of the events that fulfil `conditions`."""
    done = subprocess.run(
        [ausearch, "-if", str(log), "--format", "csv", *conditions],
        capture_output=True,
        text=True,
        check=False,
    )
    return list(csv.DictReader(io.StringIO(done.stdout)))


def serial_of(image):
    """The serial of an execution is the end of its identity."""
    return int(image.exec_id.rpartition(":")[2]) % 1_000_000


def assert_equal_reading(ausearch, log):
    """Executions, logins and accounts are those that ausearch finds, no more and no fewer."""
    imported = import_files(log)
    imported.assert_nothing_vanished()
    theirs = [
        (int(row["SERIAL_NUM"]) % 1_000_000, row["HOW"] or row["OBJ_PRIME"])
        for row in found(ausearch, log, "-m", "EXECVE", "-sv", "yes")
    ]
    ours = [(serial_of(image), image) for _, image, _ in imported.told("exec")]
    assert sorted(serial for serial, _ in ours) == sorted(serial for serial, _ in theirs)
    logins = found(ausearch, log, "-m", "USER_LOGIN", "-sv", "yes")
    sessions = {start.session_id for start, _, _ in imported.told("session_start")}
    assert {int(row["SESSION"]) for row in logins if row["SESSION"].isdigit()} <= sessions
    changed = {
        (fact.action, fact.subject)
        for fact, _, _ in imported.told("account_change")
        if fact.action != CHANGE.ACTION_CHANGED
    }
    assert changed == {
        ACCOUNTS[row["EVENT"]]
        for row in found(ausearch, log, "-m", ",".join(ACCOUNTS), "-sv", "yes")
    }
    return len(ours), len(logins), len(changed)


def test_a_log_by_hand_is_read_as_ausearch_does(ausearch, tmp_path):
    person = {"auid": 1001, "ses": 3, "tty": "pts1"}
    log = tmp_path / "audit.log"
    log.write_text("\n".join([
        *an_ssh_login(),
        *executed(14, "sudo", "useradd", "m", pid=520, ppid=510, exe="/usr/bin/sudo", **person),
        *executed(15, "useradd", "m", pid=521, ppid=520, exe="/usr/sbin/useradd", **person),
        user("ADD_USER", 16, 521, 'op=add-user acct="m" exe="/usr/sbin/useradd" hostname=? addr=? terminal=pts/1 res=success'),
        line("EOE", 17, ""),
    ]) + "\n")  # fmt: skip
    assert assert_equal_reading(ausearch, log) == (2, 1, 1)


@pytest.mark.parametrize(
    "log",
    [
        "host-logs/audit_enriched.log",
        "go-libaudit/auparse/testdata/audit-rhel7.log",
        "mordor-linux/sh_arp_cache_2020-11-10074812.log",
        "mordor-linux/sh_binary_padding_dd_2020-11-10081941.log",
    ],
)
def test_a_recorded_log_is_read_as_ausearch_does(ausearch, shared_data, log):
    assert_equal_reading(ausearch, shared_data / log)
