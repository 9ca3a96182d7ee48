from agent.lines import Ran
from agent.stages.fold import Made
from agent.stages.mounting import HOLD_NS, Mountings
from nightherd.event.v1 import event_pb2 as events
from tests.builders import an_image

_Mount = events.MountChange
MOUNTED, BOUND = _Mount.OPERATION_MOUNTED, _Mount.OPERATION_BOUND
ROOT = Ran(an_image("/usr/bin/mount"))


def mount(ran=None, operation=MOUNTED, target=b"/etc/cron.d", watched=()):
    change = _Mount(operation=operation, target=target, watched_paths=watched)
    return Made(ran, events.Event(mount_change=change))


def held(*some):
    mountings = Mountings()
    for made in some:
        assert mountings.add(made, 0) == []
    assert mountings.due(HOLD_NS - 1) == []
    told = mountings.due(HOLD_NS)
    assert mountings.due(HOLD_NS) == []
    return told


def test_who_mounted_it_and_what_it_shows_are_told_together():
    for known_first in (True, False):
        some = [mount(ROOT, BOUND), mount(watched=[b"/a"])]
        (made,) = held(*(some if known_first else reversed(some)))
        assert made.ran is ROOT
        assert made.event.mount_change == mount(ROOT, BOUND, watched=[b"/a"]).event.mount_change
        assert made.urgent


def test_a_mount_that_nobody_is_known_to_have_made_is_told_all_the_same():
    (made,) = held(mount(watched=[b"/a"]))
    assert made.ran is None
    assert made.event.mount_change.watched_paths == [b"/a"]


def test_other_places_and_ends_of_mounts_are_others():
    some = [mount(ROOT), mount(operation=_Mount.OPERATION_UNMOUNTED), mount(target=b"/etc/pam.d")]
    assert held(*some) == some


def test_a_flood_of_mounts_is_not_held():
    mountings = Mountings()
    told = [each for n in range(5000) for each in mountings.add(mount(target=b"/%d" % n), 0)]
    assert len(told) > 3000
    assert len(told) + len(mountings.due(HOLD_NS)) == 5000
