"""Merging is a law: order and repetition do not matter."""

from hypothesis import given
from hypothesis import strategies as st

from services.modeler.domain.calendar import Calendar
from services.modeler.domain.evidence import KEPT, Evidence, merge, smallest
from services.modeler.domain.learning import Learned, Lesson, lesson
from services.modeler.learner import Known
from services.modeler.repository.names import behaviour_id
from tests.builders import T0, a_body, an_event, an_image, changes

NUMBERS = st.lists(st.integers(0, 9), max_size=5).map(smallest)
HOSTS = st.lists(st.sampled_from("abcdef"), max_size=5).map(smallest)
EVIDENCE = st.builds(Evidence, NUMBERS, NUMBERS, HOSTS, st.integers(0, 9))
CALENDAR = Calendar(unit_seconds=1, span_seconds=3)


@st.composite
def bodies(draw):
    items = []
    for _ in range(draw(st.integers(1, 5))):
        n = draw(st.integers(1, 3))
        image = an_image(f"/usr/bin/p{n}", service=f"s{n % 2}.service", pid=n)
        kind = draw(st.sampled_from([{}, {"file_change": changes("/etc/passwd", "/var/x.7")}]))
        items.append(
            (image, an_event(time_ns=T0 + draw(st.integers(0, 20)) * 1_000_000_000, **kind))
        )
    return a_body(*items)


@given(EVIDENCE, EVIDENCE, EVIDENCE)
def test_merging_is_commutative_associative_idempotent_and_bounded(a, b, c):
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(merge(a, b), b) == merge(a, b)
    assert all(len(kept) <= KEPT for kept in merge(a, b)[:3])


def learned(found, order):
    whole = Lesson()
    for place in order:
        whole.add(found[place])
    return whole


@given(st.lists(bodies(), min_size=1, max_size=4), st.data())
def test_any_order_and_any_repetition_teach_the_same(found, data):
    lessons = [lesson(b, "default", f"h{n % 3}", CALENDAR) for n, b in enumerate(found)]
    order = data.draw(st.permutations(range(len(lessons))))
    again = data.draw(st.lists(st.sampled_from(range(len(lessons)))))
    assert learned(lessons, [*order, *again]) == learned(lessons, range(len(lessons)))


@given(st.lists(bodies(), min_size=1, max_size=5), st.integers(1, 4))
def test_leaving_out_what_is_known_changes_nothing_however_small_the_memory(found, most):
    lessons = [lesson(b, "default", f"h{n % 3}", CALENDAR) for n, b in enumerate(found)]
    known, durable = Known(most), Lesson()
    for part in [*lessons, *lessons]:
        news = known.news(part)
        durable.add(news)
        known.note(news)
    assert durable == learned(lessons, range(len(lessons)))


def test_what_no_service_and_no_kernel_can_say_is_not_kept():
    long = an_image("/" + "x" * 20_000)
    nameless = an_image(service="s" * 5000, pid=2)
    times = (-1, 253_402_300_800)
    absurd = [(an_image(), an_event(time_ns=t * 1_000_000_000)) for t in times]
    found = lesson(a_body((nameless, an_event()), *absurd), "default", "h", CALENDAR)
    assert found == Lesson()
    assert not lesson(a_body((long, an_event())), "default", "h", CALENDAR).behaviours


@given(bodies())
def test_repeating_what_was_noted_is_no_news(body):
    part = lesson(body, "default", "h", CALENDAR)
    known = Known(1000)
    known.note(part)
    assert known.news(part) == Lesson()


NAMES = st.text("ab/\x1f\x00", max_size=4)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_no_two_behaviours_share_a_document(one, other):
    first, second = (Learned(herd, service, 1, subject) for herd, service, subject in (one, other))
    assert (behaviour_id(first) == behaviour_id(second)) == (one == other)
