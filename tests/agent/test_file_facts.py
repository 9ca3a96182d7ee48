"""Reads of secrets, mounts over watched names and changes by other names, told with who did it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent.sensing import sensing

pytestmark = pytest.mark.kernel
EXACT = events.ATTRIBUTION_EXACT
_Change, _Mount = events.FileChange, events.MountChange


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="nhf", dir="/var/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("level", ["full", "audit"])
def test_who_read_a_secret_is_told_once_for_each_program(folder, tmp_path, level):
    shadow = folder / "shadow"
    shadow.write_text("x")
    with sensing(tmp_path, str(folder / "none"), level=level, secrets=(str(shadow),)) as host:
        code = f"for n in 1 2 3; do read line < {shadow}; done; /bin/cat {shadow}; true"
        subprocess.run(["/bin/sh", "-c", code], check=True, stdout=subprocess.DEVNULL)
        host.until(lambda: len(host.told("file_read")) >= 2)
        told = {
            image.arguments[0]: (event.attribution, event.file_read)
            for image, event in host.told("file_read")
        }
        reads = {name: facts.reads[0] for name, (_, facts) in told.items()}
        assert {read.path for read in reads.values()} == {bytes(shadow)}
        assert {read.secret for read in reads.values()} == {"a secret"}
        assert set(reads) == {b"/bin/sh", b"/bin/cat"}
        assert len(host.told("file_read")) == 2


def test_a_change_through_a_hard_link_names_who_made_it_and_how(folder, tmp_path):
    passwd, link = folder / "etc" / "passwd", folder / "elsewhere" / "x"
    for path in (passwd, link):
        path.parent.mkdir()
    passwd.write_text("root")
    with sensing(tmp_path, str(passwd)) as host:
        link.hardlink_to(passwd)
        # Ticks go by meanwhile: what a pid does in the tick of its start is not sure.
        writer = subprocess.Popen(["/bin/sh", "-c", f"read go; echo evil >> {link}"], stdin=-1)
        host.until(lambda: any(i.arguments[:1] == [b"/bin/sh"] for i, _ in host.told("exec")))
        writer.communicate(b"go\n")

        def told():
            return [
                (image, event, change)
                for image, event in host.told("file_change")
                for change in event.file_change.changes
                if change.operation == _Change.OPERATION_MODIFIED
            ]

        host.until(told)
        ((image, event, change),) = told()
        assert (change.path, change.used_path) == (bytes(passwd), bytes(link))
        assert image.arguments[0] == b"/bin/sh"
        assert event.attribution == EXACT


def test_a_mount_over_a_watched_folder_is_told_once_with_what_it_shows(folder, tmp_path):
    watched, shown = folder / "cron.d", folder / "shown"
    for path in (watched, shown):
        path.mkdir()
    (watched / "kept").touch()
    (shown / "evil").touch()
    with sensing(tmp_path, str(watched / "**")) as host:
        subprocess.run(["mount", "--bind", shown, watched], check=True)
        try:
            host.until(lambda: host.told("mount_change"))
        finally:
            subprocess.run(["umount", watched], check=True)
        host.until(lambda: len(host.told("mount_change")) >= 2)
        told = [
            (image, event.mount_change)
            for image, event in host.told("mount_change")
            if event.mount_change.target == bytes(watched)
        ]
        (by, mounted), (gone_by, gone) = told
        assert gone.operation == _Mount.OPERATION_UNMOUNTED
        evil, kept = bytes(watched / "evil"), bytes(watched / "kept")
        assert set(mounted.watched_paths) == set(gone.watched_paths) == {evil, kept}
        programs = [image.executable.rpartition(b"/")[2] for image in (by, gone_by)]
        if any("mounts" in sentence for sentence in host.sensors.sentences()):
            assert programs == [b"", b""]
        else:
            assert programs == [b"mount", b"umount"]
        created, deleted = _Change.OPERATION_CREATED, _Change.OPERATION_DELETED
        net = {(created, evil), (deleted, kept), (created, kept), (deleted, evil)}
        host.until(
            lambda: (
                net
                <= {
                    (change.operation, change.path)
                    for _, event in host.told("file_change")
                    if event.attribution != EXACT
                    for change in event.file_change.changes
                }
            )
        )
