"""What stands above images, out of tables of any content."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from evidence.lineage import MOST_ANCESTORS, MOST_LINES, Lineage, copied, put_above
from nightherd.event.v1 import event_pb2 as events
from tests.builders import an_ancestor, an_image

PLACES = st.one_of(st.integers(-2, 25), st.sampled_from([-(2**31), 2**31 - 1]))


@st.composite
def tables(draw):
    """A body whose pointers lead anywhere: forward, to themselves, in circles, out of it."""
    body = events.EventBatch()
    for number, above in enumerate(draw(st.lists(PLACES, max_size=24)), start=1):
        body.ancestors.add(pid=number, executable=b"/bin/%d" % number, above=above)
    for place in draw(st.lists(PLACES, min_size=1, max_size=8)):
        body.images.add(ancestor=place)
    return body


@given(tables())
def test_any_table_gives_lines_that_end(body):
    lineage = Lineage(body)
    for image in body.images:
        above = lineage.above(image)
        places = [ancestor.pid for ancestor in above]
        assert len(above) <= MOST_ANCESTORS
        assert places == sorted(set(places), reverse=True)
        assert bool(above) == (0 < image.ancestor <= len(body.ancestors))
        for lower, upper in pairwise(above):
            assert lower.above == upper.pid
        if above and len(above) < MOST_ANCESTORS:
            assert not 0 < above[-1].above < above[-1].pid
        shown = [f"/bin/{place}" for place in places]
        assert lineage.executables(image.ancestor) == shown


@given(st.lists(st.lists(st.integers(1, 6), max_size=20), max_size=5))
def test_what_is_put_above_is_found_above(lines):
    body = events.EventBatch()
    for pids in lines:
        image = body.images.add()
        put_above(body, image, [an_ancestor(pid=pid) for pid in pids])
    body = events.EventBatch.FromString(body.SerializeToString())
    lineage = Lineage(body)
    for pids, image in zip(lines, body.images, strict=True):
        found = [copied(ancestor) for ancestor in lineage.above(image)]
        assert found == [an_ancestor(pid=pid) for pid in pids[:MOST_ANCESTORS]]


def test_more_lines_than_are_remembered_are_still_told():
    body = events.EventBatch()
    for number in range(1, MOST_LINES + 10):
        body.ancestors.add(pid=number, above=number - 1)
    lineage = Lineage(body)
    for _ in range(2):
        for place in range(1, MOST_LINES + 10):
            image = an_image(ancestor=place)
            assert lineage.above(image)[0].pid == place
