"""Answers are bounded, whatever a body brings."""

from nightherd.event.v1 import event_pb2 as events
from services.store.domain.bounding import MOST_PROCESS_BYTES, bounded
from tests.builders import an_image


def test_what_agents_seal_is_told_as_it_is():
    image = an_image("/usr/bin/p", arguments=[b"p", b"x" * 4000])
    before = image.SerializeToString()
    assert bounded(image).SerializeToString() == before


def test_what_is_larger_is_cut_and_says_so():
    image = an_image("/usr/bin/p", arguments=[b"p"] + [b"y" * 1000] * 2000, user="u" * 100_000)
    assert bounded(image) is image
    assert image.ByteSize() <= MOST_PROCESS_BYTES
    assert image.arguments_cut
    assert image.arguments[0].startswith(b"p yyy")
    ancestor = bounded(events.Ancestor(exec_id="e", command=b"z" * 1_000_000))
    assert (ancestor.exec_id, len(ancestor.command)) == ("e", 4096)
