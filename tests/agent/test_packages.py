import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.lines import Ran
from agent.packages import LATEST_NS, QUIET_NS, Packages, read
from agent.stages.fold import Made
from nightherd.event.v1 import event_pb2 as events
from tests.builders import an_event, an_image, changes

P = events.PackageChange


def paragraph(name, version="1", state="installed", architecture="amd64"):
    return (
        f"Package: {name}\nStatus: install ok {state}\nArchitecture: {architecture}\n"
        f"Version: {version}\nDescription: x\n Version: 9 is not it\n\n"
    )


@pytest.fixture
def status(tmp_path):
    (tmp_path / "status").write_text(paragraph("dpkg") + paragraph("curl", "7.0"))
    return tmp_path / "status"


def touch(packages, now=0, pid=500):
    event = an_event(None, file_change=changes("/var/lib/dpkg/status"))
    packages.touched(Made(Ran(an_image("/usr/bin/dpkg", pid=pid, maintenance=True)), event), now)


def told(packages, now):
    """What comes once the database was read, `now` on the boot clock."""
    assert not list(packages.due(now))
    deadline = time.monotonic() + 60
    while not (found := list(packages.due(now))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_installed_upgraded_and_removed_packages_are_told_with_who_did_it(status):
    packages = Packages(status)
    status.write_text(paragraph("dpkg", "2") + paragraph("new", "0.1") + paragraph("curl:x", "1"))
    touch(packages)
    found = told(packages, QUIET_NS)
    assert {each.image.executable for each in found} == {b"/usr/bin/dpkg"}
    assert all(each.event.attribution == events.ATTRIBUTION_EXACT for each in found)
    wanted = {
        ("dpkg", P.ACTION_UPGRADED, "2", "1"),
        ("new", P.ACTION_INSTALLED, "0.1", ""),
        ("curl:x", P.ACTION_INSTALLED, "1", ""),
        ("curl", P.ACTION_REMOVED, "", "7.0"),
    }
    rows = [each.event.package_change for each in found]
    assert {(c.name, c.action, c.version, c.previous_version) for c in rows} == wanted
    assert {c.manager for c in rows} == {"dpkg"}


def test_a_package_of_which_only_settings_are_left_is_removed(status):
    packages = Packages(status)
    status.write_text(paragraph("dpkg") + paragraph("curl", "7.0", "config-files"))
    touch(packages)
    (made,) = told(packages, QUIET_NS)
    assert made.event.package_change.action == P.ACTION_REMOVED


def test_the_database_is_read_when_it_rests_but_not_later_than_some_seconds(status):
    packages = Packages(status)
    status.write_text("")
    for at in range(0, LATEST_NS, QUIET_NS // 2):
        touch(packages, at)
        assert not list(packages.due(at))
    touch(packages, LATEST_NS)
    assert len(told(packages, LATEST_NS)) == 2


def test_when_two_wrote_it_is_said_to_be_a_conclusion(status):
    packages = Packages(status)
    status.write_text(paragraph("dpkg"))
    touch(packages, 0, pid=500)
    touch(packages, 1, pid=501)
    (made,) = packages.all()
    assert (made.image.pid, made.event.attribution) == (501, events.ATTRIBUTION_INFERRED)


def test_a_database_that_cannot_be_read_removes_nothing(status):
    packages = Packages(status)
    status.rename(status.with_name("away"))
    touch(packages)
    assert not list(packages.all())


def test_the_same_name_of_a_foreign_architecture_is_another_package(status):
    status.write_text(
        paragraph("dpkg") + paragraph("libc6", "1") + paragraph("libc6", "2", architecture="i386")
    )
    assert read(status) == {"dpkg": "1", "libc6": "1", "libc6:i386": "2"}


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "status"
    path.write_bytes(b"Package: a\nStatus: x installed\nVersion: " + content)
    assert read(path) is not None
