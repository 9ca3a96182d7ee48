from hypothesis import given
from hypothesis import strategies as st

from agent.lines import Ran
from agent.sensors.records import FileRecord
from agent.stages.fold import FileChanges, Made
from agent.stages.seal import Collector
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.builders import T0, an_event, an_image

OPERATIONS = [
    "created",
    "linked",
    "modified",
    "truncated",
    "deleted",
    "renamed",
    "attributes",
]
SECOND = 1_000_000_000


def record(operation="modified", path=b"/etc/passwd", at=0) -> FileRecord:
    return FileRecord(operation, at, 500, path, b"", directory=False)


def add(folder: FileChanges, image, each: FileRecord):
    return folder.add(
        each,
        Ran(image),
        T0 + each.boot_ns,
        attribution=events.ATTRIBUTION_EXACT,
        urgent=each.path == b"/etc/passwd",
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(OPERATIONS),
            st.sampled_from([b"/a", b"/b", b"/\xff"]),
            st.integers(1, 3),
        ),
        max_size=60,
    )
)
def test_every_change_is_in_exactly_one_event_of_its_image_and_counted(changes):
    folder, made = FileChanges(), []
    for at, (operation, path, pid) in enumerate(changes):
        full = add(folder, an_image(pid=pid), record(operation, path, at))
        made += [full] if full else []
    made += folder.all()
    assert len({each.image.exec_id for each in made}) == len(made)
    told: dict[tuple, int] = {}
    for each in made:
        for change in each.event.file_change.changes:
            key = (each.image.pid, change.operation, change.path)
            assert key not in told
            told[key] = max(change.count, 1)
    wanted: dict[tuple, int] = {}
    for operation, path, pid in changes:
        number = events.FileChange.Operation.Value(f"OPERATION_{operation.upper()}")
        wanted[pid, number, path] = wanted.get((pid, number, path), 0) + 1
    assert told == wanted


def test_mode_owner_and_group_are_those_of_the_last_look():
    folder, image = FileChanges(), an_image()
    for mode in (0o600, 0o4755, None):
        add(
            folder, image, record("attributes")._replace(mode=mode, owner_id=mode and 0, group_id=7)
        )
    (made,) = folder.all()
    (change,) = made.event.file_change.changes
    assert (change.mode, change.owner_id, change.group_id, change.count) == (0o4755, 0, 7, 3)


def test_changes_are_told_when_the_image_ends():
    folder, image = FileChanges(), an_image()
    add(folder, image, record(path=b"/etc/passwd"))
    add(folder, image, record(path=b"/etc/shadow"))
    made = list(folder.ended(image.exec_id))
    assert [[c.path for c in each.event.file_change.changes] for each in made] == [
        [b"/etc/passwd"],
        [b"/etc/shadow"],
    ]
    assert [each.urgent for each in made] == [True, False]
    assert made[0].urgent
    assert not list(folder.all())


def test_changes_of_a_long_lived_image_are_told_after_a_second():
    folder = FileChanges()
    add(folder, an_image(), record(at=5))
    assert not list(folder.due(SECOND))
    assert len(list(folder.due(SECOND + 5))) == 1


@given(st.lists(st.integers(1, 3), min_size=1, max_size=40))
def test_identical_events_fold_and_none_is_lost(ports):
    collector = Collector()
    image = an_image()
    for at, port in enumerate(ports):
        event = an_event(
            None, T0 + at, connect=events.Connect(remote_address="10.0.0.1", remote_port=port)
        )
        collector.add(Made(Ran(image), event), 0)
    body = events.EventBatch.FromString(collector.take().raw)
    assert len(body.images) == 1
    counts = {e.connect.remote_port: max(e.count, 1) for e in body.events}
    assert counts == {port: ports.count(port) for port in ports}
    assert sum(max(e.count, 1) for e in body.events) == len(ports)
    for event in body.events:
        if event.count > 1:
            assert clock.from_timestamp(event.last_event_time) >= clock.from_timestamp(
                event.event_time
            )
