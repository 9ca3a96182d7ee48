"""What the benchmark of audit logs measures is what it says."""

from benchmarks import audit_import
from tests.agent.logs import import_files


def test_its_executions_are_executions(tmp_path):
    log = tmp_path / "audit.log"
    count = audit_import.write(log, audit_import.executions(), 2000)
    imported = import_files(log)
    imported.assert_nothing_vanished()
    assert imported.reading.lines == imported.making.used == count
    executed = imported.told("exec")
    assert len(executed) == count / 6
    assert [len(imported.above(image)) for _, image, _ in executed[:3]] == [0, 1, 1]
    assert imported.making.lost == 0


def test_its_recorded_events_are_read_whole(tmp_path, shared_data):
    log = tmp_path / "audit.log"
    events = audit_import.recorded()
    count = audit_import.write(log, events, 1)
    imported = import_files(log)
    imported.assert_nothing_vanished()
    assert count == sum(map(len, events)) == imported.reading.lines
    assert imported.rejects == []
    kinds = {event.WhichOneof("kind") for event in imported.events}
    assert {"exec", "file_change", "connect", "session_start", "auth_failure"} <= kinds
