"""Files and executions that two sources tell at different speeds come out in one order."""

from agent.sensors.audit_order import GRAIN_NS, PATIENCE_NS, Order
from agent.sensors.records import AuditRecord, FileRecord, ProcessRecord

SECOND = 1_000_000_000
TICK = SECOND // 20
BEGIN = 100 * SECOND


def a_file(pid):
    return FileRecord("created", BEGIN, pid, b"/etc/x", b"", directory=False)


def an_exec(pid, boot_ns, kind="exec"):
    return ProcessRecord(
        *(kind, boot_ns, boot_ns, pid, 1, pid, 0, 0, 0, 0, "", 0, b"", b"/bin/x"),
        *((), False, b"/", "", True),
    )


def test_a_change_waits_for_the_executions_before_it():
    order = Order()
    order.add_files([a_file(7)], BEGIN)
    assert order.due(BEGIN - 1, BEGIN) == []
    order.add_files([], BEGIN + TICK)
    late = an_exec(7, BEGIN - 20_000_000)
    order.add_told([late], 0)
    assert order.due(BEGIN + GRAIN_NS, BEGIN + TICK) == [late, a_file(7)]
    assert not order.waits_for_audit


def test_an_execution_after_the_look_waits_for_the_next():
    order = Order()
    order.add_files([a_file(7)], BEGIN)
    after = an_exec(7, BEGIN + 2 * GRAIN_NS)
    order.add_told([after], 0)
    assert order.due(after.boot_ns, BEGIN) == [a_file(7)]
    order.add_files([a_file(7)], BEGIN + TICK)
    assert order.due(BEGIN + 2 * TICK, BEGIN + TICK) == [after, a_file(7)]


def test_where_the_program_changed_at_the_look_it_is_not_sure_which_it_was():
    order = Order()
    order.add_files([a_file(7), a_file(8)], BEGIN)
    order.add_told([an_exec(7, BEGIN + 1_000_000)], 0)
    told = order.due(BEGIN + TICK, BEGIN)
    assert [(each.pid, each.exact) for each in told] == [(7, False), (8, True)]


def test_a_change_is_told_though_audit_stays_silent():
    order = Order()
    order.add_files([a_file(7)], BEGIN)
    assert order.due(0, BEGIN + PATIENCE_NS - 1) == []
    assert order.due(0, BEGIN + PATIENCE_NS) == [a_file(7)]


def test_who_is_seen_only_by_looking_comes_before_what_it_changed():
    order = Order()
    order.add_files([a_file(7)], BEGIN)
    fork = an_exec(7, BEGIN + 9_000_000, "fork")
    order.add_told([fork], 0)
    assert order.due(BEGIN + TICK, BEGIN) == [fork, a_file(7)]


def test_other_records_keep_their_place_and_everything_can_be_had_at_once():
    order = Order()
    login = AuditRecord("USER_LOGIN", BEGIN + 5, 1)
    order.add_files([], BEGIN)
    order.add_told([login, an_exec(7, BEGIN - 1)], 5)
    assert order.due(0, BEGIN) == [an_exec(7, BEGIN - 1), login]
    order.add_files([a_file(7)], BEGIN + TICK)
    order.add_told([an_exec(9, BEGIN + TICK)], 5)
    assert order.all() == [an_exec(9, BEGIN + TICK), a_file(7)]
    assert order.all() == []
