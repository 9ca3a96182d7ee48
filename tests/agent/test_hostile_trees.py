"""Whatever trees of folders somebody makes: every batch is taken, and nothing is lost silently."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.names import UserNames
from agent.output import Output
from agent.sensors import watchlist
from agent.sensors.records import FileRecord
from agent.spool import Spool
from agent.stages.bounds import MOST_EVENT_BYTES, MOST_TEXT_BYTES
from agent.stages.budget import Budgets
from agent.stages.fold import MOST_OPEN_BYTES, FileChanges
from agent.stages.seal import Host, Sealer
from agent.translate import Translator
from chassis.channel import MAX_MESSAGE_BYTES
from chassis.tls import Peer
from delivery.checks import Checked, Limits, check
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.agent.spools import batches_of
from tests.agent.stages.host import Host as Machine
from tests.agent.stages.test_fold import add
from tests.builders import BOOT, HOST, an_image

URGENT = b"/etc/cron.d/backdoor"
CUT = b"/.../"
PEER = Peer("host", HOST, "default", KEY.public_key().public_bytes_raw())

names = st.binary(min_size=1, max_size=12).map(
    lambda name: name.replace(b"/", b"\xff").replace(b"\0", b"\xfe")
)
tops = st.sampled_from(
    [b"/home/alice/.ssh", b"/root/.ssh", b"/var/log", b"/etc/cron.d/deep", b"/opt/none"]
)


class Tree(NamedTuple):
    """Changes of one tree: deep, wide, repeated, or moved there."""

    shape: str
    top: bytes
    name: bytes
    count: int

    def changes(self) -> list[tuple[str, bytes, bytes]]:
        """(operation, path, previous path), in order."""
        top, name = self.top, self.name
        numbers = range(self.count)
        if self.shape == "deep":
            return [("created", top + (b"/" + name) * number, b"") for number in numbers]
        if self.shape == "wide":
            return [("modified", b"%b/%d%b" % (top, number, name), b"") for number in numbers]
        if self.shape == "moved":
            return [("renamed", b"%b/%d" % (top, n), b"/tmp/" + name * 20) for n in numbers]
        return [("modified", top + b"/" + name, b"")] * self.count


trees = st.builds(
    Tree,
    st.sampled_from(["deep", "wide", "repeated", "moved"]),
    tops,
    st.builds(lambda name, times: (name * times)[:255], names, st.sampled_from([1, 1, 5, 20])),
    st.integers(1, 400),
)


def told_by(spool: Spool, limits: Limits) -> list[Checked]:
    """Every batch of a spool, as a receiver with these limits checks it."""
    return [check(batch, PEER, limits, decode=True) for batch in batches_of(spool).values()]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(trees, min_size=1, max_size=4),
    st.integers(0, 1000),
    st.sampled_from([0, 1 << 20, 64 << 10, 16 << 10]),
)
def test_every_batch_is_taken_and_changes_in_are_changes_out(forest, place, limit):
    limits = Limits(body_size_bytes=limit) if limit else Limits()
    made = [change for tree in forest for change in tree.changes()]
    made.insert(place % (len(made) + 1), ("created", URGENT, b""))
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool")
        machine = Machine(Path(folder) / "passwd")
        pid, image = machine.run(1, "/usr/bin/python3", "tree.py")
        sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
        output = Output(spool, sealer, lambda: None, Budgets(0))
        output.limit(limit)
        translator = Translator(
            machine.identifier,
            UserNames(Path(folder) / "passwd"),
            watchlist.load(),
            output,
        )
        for at in range(0, len(made), 200):
            machine.identifier.begin_tick(0, machine.now)
            translator.handle(
                [
                    FileRecord(operation, machine.now, pid, path, previous, directory=False)
                    for operation, path, previous in made[at : at + 200]
                ],
                machine.now,
            )
            output.advance(machine.now)
        translator.finish(machine.now)
        output.finish()
        batches = told_by(spool, limits)
        spool.close()
    assert all(batch.batch.ByteSize() < MAX_MESSAGE_BYTES for batch in batches)
    told = [
        event for batch in batches for event in batch.body().events if event.HasField("file_change")
    ]
    assert all(event.ByteSize() <= MOST_EVENT_BYTES for event in told)
    left_out = sum(
        event.gap.lost
        for batch in batches
        for event in batch.body().events
        if event.HasField("gap") and event.gap.cause == events.Gap.CAUSE_EVENT_BOUND
    )
    changes = [change for event in told for change in event.file_change.changes]
    assert sum(max(change.count, 1) for change in changes) + left_out == len(made)
    assert left_out == 0
    for event in told:
        own = event.file_change.changes
        assert event.cut == any(change.path_cut_bytes for change in own)
        if any(change.path == URGENT for change in own):
            assert all(change.path.startswith(b"/etc/cron.d/") for change in own)
    assert any(change.path == URGENT and not change.path_cut_bytes for change in changes)
    wanted = {(path, previous) for _, path, previous in made}
    for change in changes:
        if not change.path_cut_bytes:
            assert (change.path, change.previous_path) in wanted
        else:
            assert len(change.path) <= MOST_TEXT_BYTES
            assert any(_is_cut(change, path, previous) for path, previous in wanted)
    assert image.exec_id in {
        batch.body().images[event.actor].exec_id
        for batch in batches
        for event in batch.body().events
        if event.HasField("actor")
    }


def _is_cut(change: events.FileChange.Change, path: bytes, previous: bytes) -> bool:
    """Whether a change says the beginning and the end of these, and how much is not said."""
    missing = 0
    for said, whole in ((change.path, path), (change.previous_path, previous)):
        if said == whole:
            continue
        begin, _, end = said.partition(CUT)
        if not (whole.startswith(begin) and whole.endswith(end)):
            return False
        missing += len(whole) - len(begin) - len(end)
    return missing == change.path_cut_bytes


def test_what_many_images_change_at_once_is_bounded():
    folder, made, count = FileChanges(), [], 0
    for pid in range(100, 3100):
        image = an_image(pid=pid)
        for number in range(4):
            path = b"/home/alice/.ssh/%d/" % number + b"n" * 4000
            full = add(folder, image, FileRecord("created", 0, pid, path, b"", directory=False))
            made += [full] if full else []
            count += 1
        assert folder.size_bytes <= MOST_OPEN_BYTES + MOST_TEXT_BYTES * 2
    made += folder.all()
    assert sum(len(each.event.file_change.changes) for each in made) == count
    assert folder.size_bytes == 0
