"""Why something is missing in an imported log."""

from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import executed, import_lines, line

GAP = events.Gap
BEGIN = 1783414661


def daemon(kind, serial, seconds, kernel="6.1.0-18-amd64"):
    said = (
        f"op=start ver=3.0.9 format=raw kernel={kernel}"
        if kind == "DAEMON_START"
        else "op=terminate"
    )
    return line(kind, serial, f"{said} auid=4294967295 pid=251 uid=0 res=success", seconds=seconds)


def ran(serial, seconds):
    return executed(serial, "id", pid=1000 + serial, exe="/usr/bin/id", seconds=seconds)


def gaps(imported):
    imported.assert_nothing_vanished()
    return [
        (
            GAP.Cause.Name(gap.cause),
            gap.lost,
            gap.start_time.seconds - BEGIN,
            gap.end_time.seconds - BEGIN,
        )
        for gap, _, _ in imported.told("gap")
    ]


def test_a_time_without_daemon_is_a_gap_with_what_was_missed(tmp_path):
    imported = import_lines(
        tmp_path,
        daemon("DAEMON_START", 7000, BEGIN),
        *ran(5, BEGIN),
        daemon("DAEMON_END", 7001, BEGIN + 100),
        daemon("DAEMON_START", 1234, BEGIN + 300),
        *ran(25, BEGIN + 301),
        *ran(27, BEGIN + 302),
    )
    assert gaps(imported) == [
        ("CAUSE_LOG_HOLE", 1, 301, 302),
        ("CAUSE_AGENT_DOWN", 19, 100, 300),
    ]
    assert imported.making.lost == 20


def test_a_daemon_that_was_killed_or_a_host_that_fell_is_a_gap_since_the_last_record(tmp_path):
    imported = import_lines(
        tmp_path,
        daemon("DAEMON_START", 7000, BEGIN),
        *ran(500, BEGIN + 50),
        daemon("DAEMON_START", 99, BEGIN + 400),
        *ran(3, BEGIN + 401),
    )
    assert gaps(imported) == [("CAUSE_AGENT_DOWN", 0, 50, 400)]
    assert len(set(imported.boot_ids)) == 2
    ((gap, _, _),) = imported.told("gap")
    assert gap.precision == GAP.PRECISION_UNKNOWN


def test_a_log_that_begins_or_ends_with_the_daemon_misses_nothing(tmp_path):
    imported = import_lines(
        tmp_path,
        daemon("DAEMON_START", 7000, BEGIN),
        *ran(5, BEGIN),
        daemon("DAEMON_END", 7001, BEGIN + 100),
    )
    assert gaps(imported) == []


def test_audit_that_was_switched_off_is_a_gap(tmp_path):
    imported = import_lines(
        tmp_path,
        *ran(5, BEGIN),
        line("CONFIG_CHANGE", 6, "op=set audit_enabled=0 old=1 auid=1001 ses=3 res=1", seconds=BEGIN + 9),
        line("CONFIG_CHANGE", 7, "op=set audit_enabled=1 old=0 auid=1001 ses=3 res=1", seconds=BEGIN + 99),
        *ran(8, BEGIN + 100),
        line("CONFIG_CHANGE", 9, "op=set audit_enabled=0 old=1 auid=1001 ses=3 res=1", seconds=BEGIN + 200),
    )  # fmt: skip
    assert gaps(imported) == [("CAUSE_AGENT_DOWN", 0, 9, 99)]


def test_what_the_kernel_says_it_dropped_is_a_drop(tmp_path):
    imported = import_lines(
        tmp_path,
        *ran(5, BEGIN),
        line("KERNEL", 6, "audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64", seconds=BEGIN + 1),
        line("KERNEL", 7, "audit_lost=9 audit_rate_limit=0 audit_backlog_limit=64", seconds=BEGIN + 5),
    )  # fmt: skip
    assert gaps(imported) == [("CAUSE_KERNEL_DROP", 7, 1, 1), ("CAUSE_KERNEL_DROP", 2, 1, 5)]


def test_numbers_that_nobody_explains_are_a_hole_of_the_log(tmp_path):
    imported = import_lines(tmp_path, *ran(5, BEGIN), *ran(9, BEGIN + 1))
    assert gaps(imported) == [("CAUSE_LOG_HOLE", 3, 0, 1)]
