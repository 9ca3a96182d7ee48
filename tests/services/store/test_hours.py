"""Counts of hours that were asked for before: never other than those of all events one by one."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.conditions import WIDE_NS, Wanted
from services.store.repository.days import HOUR_NS, Day
from services.store.repository.hours import KEPT_S, Hour, Hours, Sums, cut
from tests.services.store.test_search import HOSTS, everything, random_batches
from tests.services.store.test_summary import FACETS, values
from tests.services_client import deliver

MOMENTS = st.integers(-2 * HOUR_NS, 8 * HOUR_NS) | st.builds(
    lambda hour, off: hour * HOUR_NS + off,
    st.integers(-1, 7),
    st.sampled_from([-WIDE_NS, -1, 0, 1, WIDE_NS]),
)
DAY = Day("batches_20261119", 0, 6 * HOUR_NS, wide=True)
ASKED = pb.SummariseEventsRequest(facets=["kind"])


def holds(query, batch):
    """Whether MongoDB would find `batch` by `query`, of the operators that are used here."""
    tests = {
        "$gte": lambda value, bound: value >= bound,
        "$lte": lambda value, bound: value <= bound,
        "$lt": lambda value, bound: value < bound,
        "$ne": lambda value, bound: value != bound,
    }
    return all(
        all(tests[name](batch.get(field), bound) for name, bound in condition.items())
        if isinstance(condition, dict)
        else batch.get(field) == condition
        for field, condition in query.items()
    )


@given(
    st.none() | MOMENTS,
    st.none() | MOMENTS,
    st.lists(st.tuples(MOMENTS, st.sampled_from([0, 1, WIDE_NS, WIDE_NS + 1, 3 * HOUR_NS]))),
)
def test_a_batch_within_the_span_is_counted_in_exactly_one_part(from_ns, to_ns, spans):
    query = {}
    if from_ns is not None:
        query |= {"t0": {"$gte": from_ns}, "t1": {"$gte": from_ns}}
    if to_ns is not None:
        query["t1"] = {**query.get("t1", {}), "$lte": to_ns}
    rest, hours = cut(query, DAY, Wanted(from_ns=from_ns, to_ns=to_ns))
    parts = [each for each, _ in rest] + [hour.query() for hour in hours]
    for start, length in spans:
        # Whatever the bounds of the day say: they may be older than the batch.
        batch = {"t0": start, "t1": start + length, **({"w": True} if length > WIDE_NS else {})}
        found = [part for part in parts if holds(part, batch)]
        assert len(found) == holds(query, batch)
        for hour in hours:
            assert holds(hour.query(), batch) <= holds(hour.ends(), batch)


def hour(number=0, changes=0):
    return Hour(Day("batches_20261119", 0, 6 * HOUR_NS, changes=changes), number * HOUR_NS)


def some(count=1):
    return Sums(total=count, facets={"kind": Counter({f"kind{n}": 1 for n in range(count)})})


def test_an_hour_is_counted_again_when_batches_came_or_were_changed():
    hours = Hours()
    hours.note(hour(), 7, ASKED, some())
    assert hours.known(hour(), 7, ASKED) == some()
    assert hours.known(hour(1), 7, ASKED) is None
    assert hours.known(hour(), 7, pb.SummariseEventsRequest(facets=["user"])) is None
    assert hours.known(hour(changes=1), 7, ASKED) is None
    hours.note(hour(), 7, ASKED, some())
    assert hours.known(hour(), 8, ASKED) is None


def test_what_was_asked_for_last_is_remembered_and_the_memory_is_bounded():
    hours = Hours(most_values=3 * some(100).size())
    for number in range(3):
        hours.note(hour(number), 1, ASKED, some(100))
    assert hours.known(hour(0), 1, ASKED)
    hours.note(hour(3), 1, ASKED, some(100))
    assert [bool(hours.known(hour(number), 1, ASKED)) for number in range(4)] == [
        True,
        False,
        True,
        True,
    ]
    hours.note(hour(4), 1, ASKED, some(10_000))
    assert hours.known(hour(4), 1, ASKED) is None
    assert KEPT_S < 3600


async def counted(store):
    answer = await store.stub.SummariseEvents(
        pb.SummariseEventsRequest(facets=FACETS, top=100, slice_seconds=3600)
    )
    assert answer.complete
    assert sum(part.count for part in answer.slices) == answer.total_count
    return answer.total_count, {
        facet.name: {value.value: value.count for value in facet.values} for facet in answer.facets
    }


def right(found):
    return len(found), {
        name: Counter(
            value
            for _, _, _, image, event, header in found
            for value in values(name, image, event, header)
        )
        for name in FACETS
    }


async def test_what_comes_late_is_counted_and_what_is_erased_is_not(store, tls):
    rng = random.Random(9)
    batches = []
    chain, mine = rng.randbytes(16), random_batches(rng, HOSTS[0], 40, rng.randbytes(16))
    for part in (mine[:25], mine[25:]):
        await deliver(store.address, tls.host(HOSTS[0]), part, HOSTS[0])
        batches += part
        for _ in range(2):
            assert await counted(store) == right(everything(batches))
    other = random_batches(rng, HOSTS[1], 20, chain)
    await deliver(store.address, tls.host(HOSTS[1]), other, HOSTS[1])
    assert await counted(store) == right(everything(batches + other))
    await store.stub.EraseEvidence(
        pb.EraseEvidenceRequest(host_id=HOSTS[0], authority="A. Judge", reason="order 1")
    )
    _, kept = right(everything(other))
    _, facets = await counted(store)
    assert facets["user"] == kept["user"]
    assert facets["executable"] == kept["executable"]
