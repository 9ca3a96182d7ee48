import hashlib

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent.lines import Ran, below, line_of
from agent.stages import seal
from agent.stages.fold import Made
from agent.stages.seal import Collector, Host, Link, Sealer
from chassis.tls import Peer
from delivery.checks import Limits, check
from evidence.lineage import MOST_ANCESTORS, Lineage, copied
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.builders import BOOT, CHAIN, HOST, an_ancestor, an_event, an_image

MS = 1_000_000


def sealer() -> Sealer:
    return Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, Link(CHAIN, 0, b""))


def a_made(pid: int = 500, *, urgent: bool = False) -> Made:
    return Made(Ran(an_image(pid=pid)), an_event(None), urgent)


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_chain_of_batches_passes_the_receivers_checks(groups):
    signing_key = KEY.public_key().public_bytes_raw()
    peer = Peer("host", HOST, "default", signing_key)
    maker, previous = sealer(), b""
    for number, pids in enumerate(groups, start=1):
        collector = Collector()
        for pid in pids:
            collector.add(a_made(pid), 0)
        taken = collector.take()
        assert events.EventBatch.FromString(taken.raw).SerializeToString() == taken.raw
        batch = maker.seal(taken, 0)
        checked = check(batch, peer, Limits(), decode=True)
        assert checked.header.batch_number == number
        assert checked.header.previous_hash == previous
        previous = hashlib.sha256(batch.header).digest()
        body = events.EventBatch.FromString(zstandard.ZstdDecompressor().decompress(batch.body))
        assert [body.images[e.actor].pid for e in body.events] == pids
        assert len(body.images) == len(set(pids))
        assert sum(count.count for count in batch.index.counts) == len(pids)


def test_an_urgent_event_is_due_after_a_tenth_of_a_second_others_after_ten_seconds():
    collector = Collector()
    collector.add(a_made(), 0)
    assert not collector.due(9_999 * MS)
    assert collector.due(10_000 * MS)
    collector.add(a_made(urgent=True), 50 * MS)
    assert not collector.due(149 * MS)
    assert collector.due(150 * MS)


def test_a_batch_is_full_at_its_most_events():
    collector = Collector()
    for _ in range(seal.MOST_EVENTS):
        assert not collector.due(0)
        collector.add(a_made(), 0)
    assert collector.due(0)
    assert collector.take().event_count == seal.MOST_EVENTS
    assert not collector.due(1 << 62)


def test_an_image_about_which_more_became_known_is_a_further_entry():
    collector = Collector()
    first = an_image(provenance=events.PROVENANCE_INTERACTIVE)
    later = an_image(provenance=events.PROVENANCE_DETACHED)
    collector.add(Made(Ran(first), an_event(None)), 0)
    collector.add(Made(Ran(later), an_event(None)), 0)
    body = events.EventBatch.FromString(collector.take().raw)
    assert [body.images[e.actor].provenance for e in body.events] == [
        events.PROVENANCE_INTERACTIVE,
        events.PROVENANCE_DETACHED,
    ]


def test_headers_say_live_and_carry_the_redaction_version():
    collector = Collector()
    collector.add(a_made(), 0)
    header = pb.BatchHeader.FromString(sealer().seal(collector.take(), 7).header)
    assert header.origin == pb.ORIGIN_LIVE
    assert header.redaction_version >= 1
    assert header.wall_minus_boot_ns == 7


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=30))
def test_each_ancestor_stands_once_in_a_batch_and_every_line_is_whole(started):
    """Processes start one another; each image's line is what started it, and so on."""
    collector = Collector()
    rans = [Ran(an_image(pid=1))]
    for number, (parent, again) in enumerate(started, start=2):
        above = below(rans[parent % len(rans)]) if again == 0 else rans[-1].above
        rans.append(Ran(an_image(pid=number), above))
    for ran in rans:
        collector.add(Made(ran, an_event(None)), 0)
    raw = collector.take().raw
    body = events.EventBatch.FromString(raw)
    assert body.SerializeToString() == raw
    lineage = Lineage(body)
    for ran, image in zip(rans, body.images, strict=True):
        told = [copied(ancestor) for ancestor in lineage.above(image)]
        assert told == list(ran.above or ())[:MOST_ANCESTORS]
    lines = {id(ran.above) for ran in rans if ran.above is not None}
    assert len(body.ancestors) == len(lines)


def test_a_line_counts_once_towards_a_full_batch():
    large = [an_ancestor(pid=pid, command=b"x" * 7000) for pid in range(1, 4)]
    line = line_of(large)
    collector = Collector()
    for pid in range(100, 400):
        assert not collector.add(Made(Ran(an_image(pid=pid), line), an_event(None)), 0)
    pid = 400
    while not collector.add(Made(Ran(an_image(pid=pid), line_of(large)), an_event(None)), 0):
        pid += 1
    assert 400 + 6 < pid < 400 + 12
    assert len(collector.take().raw) < 2 * seal.MOST_BYTES
    assert not collector.full
