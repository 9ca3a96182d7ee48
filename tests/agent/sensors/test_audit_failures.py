"""Executions that failed, at the audit level: told where rules of others tell them, and bounded."""

import os

from agent.audit_events import fact_of
from agent.sensors.audit_numbers import EXECS
from agent.sensors.audit_processes import AuditedProcesses
from agent.sensors.audit_records import TYPE_NAMES, parse
from agent.sensors.exec_failures import MOST_NAMES
from nightherd.event.v1 import event_pb2 as events

NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
NONE = events.Image()
WALL_NS = 1_783_414_661_335_000_000


def records(serial, path, *, success="no", result="-2"):
    pid = os.getpid()

    def record(kind, text):
        return parse(NUMBERS[kind], f"audit(1783414661.335:{serial}): {text}".encode())

    told = [
        record("SYSCALL", f'arch=c000003e syscall=59 success={success} exit={result} a0=0 a1=0 a2=0 a3=0 items=1 ppid=1 pid={pid} auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=1 comm="sh" exe="/usr/bin/dash" key=(null)'),
        record("CWD", 'cwd="/"'),
        record("PATH", f'item=0 name="{path}" nametype=NORMAL'),
        record("EOE", ""),
    ]  # fmt: skip
    if success == "yes":
        told.insert(1, record("EXECVE", f'argc=1 a0="{path}"'))
    return told


def told(processes, given, now_ns=WALL_NS):
    found = processes.put_together(given, now_ns, 0)
    return [
        event
        for record in found
        if record.kind == "execve failed" and (event := fact_of(record, NONE, {})) is not None
    ]


def test_a_failure_is_told_a_second_later_with_its_count():
    processes = AuditedProcesses()
    assert (b"c000003e", b"59") in EXECS
    given = [*records(1, "/opt/x"), *records(2, "/usr/x"), *records(3, "/opt/y", result="-13")]
    assert told(processes, given) == []
    first, second = told(processes, [], WALL_NS + 1_000_000_000)
    assert (first.exec_failure.requested_path, first.exec_failure.error) == (b"/opt/x", "ENOENT")
    assert (first.count, first.last_event_time.seconds) == (2, 1783414661)
    assert second.exec_failure.error == "EACCES"


def test_a_search_that_comes_to_a_program_is_not_told():
    processes = AuditedProcesses()
    given = [*records(1, "/opt/x"), *records(2, "/usr/bin/x", success="yes", result="0")]
    assert told(processes, given) == []
    assert told(processes, [], WALL_NS + 5_000_000_000) == []


def test_a_storm_is_a_bounded_number_of_events():
    processes = AuditedProcesses()
    given = [record for n in range(1000) for record in records(n, f"/x/{n}")]
    found = told(processes, given) + told(processes, [], WALL_NS + 1_000_000_000)
    assert len(found) == MOST_NAMES + 1
    assert sum(max(event.count, 1) for event in found) == 1000


def test_a_call_that_failed_and_is_no_execution_is_not_told():
    processes = AuditedProcesses()
    given = [
        parse(NUMBERS[record.kind], b"audit(1783414661.335:1): " + record.text.replace(b"syscall=59", b"syscall=2"))
        for record in records(1, "/etc/x")
    ]  # fmt: skip
    assert told(processes, given, WALL_NS) == []
    assert told(processes, [], WALL_NS + 1_000_000_000) == []
