from agent.sensors.records import MountRecord
from agent.stages.mounting import HOLD_NS, Mountings


def mount(pid=0, operation="mounted", target=b"/etc/cron.d", watched=()):
    return MountRecord(operation, 1, pid, b"tmpfs", target, "tmpfs", watched=watched)


def held(*records):
    mountings = Mountings()
    for record in records:
        assert list(mountings.add(record, None, 0)) == []
    assert list(mountings.due(HOLD_NS - 1)) == []
    told = [each for each, _ in mountings.due(HOLD_NS)]
    assert list(mountings.due(HOLD_NS)) == []
    return told


def test_who_mounted_it_and_what_it_shows_are_told_together():
    for records in [
        (mount(7, "bound"), mount(watched=(b"/a",))),
        (mount(watched=(b"/a",)), mount(7, "bound")),
    ]:
        assert held(*records) == [mount(7, "bound", watched=(b"/a",))]


def test_a_mount_that_nobody_is_known_to_have_made_is_told_all_the_same():
    assert held(mount(watched=(b"/a",))) == [mount(watched=(b"/a",))]


def test_other_places_and_ends_of_mounts_are_others():
    records = [mount(7), mount(0, "unmounted"), mount(0, target=b"/etc/pam.d")]
    assert sorted(held(*records)) == sorted(records)


def test_a_flood_of_mounts_is_not_held():
    mountings = Mountings()
    told = [each for n in range(5000) for each in mountings.add(mount(target=b"/%d" % n), None, 0)]
    assert len(told) + len(list(mountings.due(HOLD_NS))) == 5000
    assert len(told) > 3000
