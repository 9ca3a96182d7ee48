"""Counts of events from the real store: the same as counting all events one by one."""

import asyncio
import random
from collections import Counter

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis import clock
from chassis.text import show
from evidence.matching import Matcher, services_of, sessions_of
from nightherd.store.v1 import store_service_pb2 as pb
from tests.builders import T0
from tests.evidence import strategies
from tests.services.store.test_search import DAY_NS, HOSTS, everything, random_batches
from tests.services_client import deliver

FACETS = [
    "host",
    "herd",
    "kind",
    "user",
    "effective_user",
    "service",
    "session",
    "executable",
    "path",
]


def values(facet, image, event, header):
    if facet == "path":
        return [show(change.path) for change in event.file_change.changes]
    if facet in ("service", "session"):
        found = services_of(event, image) if facet == "service" else sessions_of(event, image)
        return [str(each) for each in found]
    if facet in ("host", "herd", "kind"):
        return [
            {"host": header.host_id, "herd": header.herd, "kind": event.WhichOneof("kind")}[facet]
        ]
    if image is None:
        return []
    value = {
        "user": image.login_user or image.user,
        "effective_user": image.user,
        "executable": show(image.executable),
    }[facet]
    return [value] if value else []


async def test_counts_are_those_of_all_events_one_by_one(store, tls):
    rng = random.Random(6)
    batches = []
    for host_id in HOSTS:
        mine = random_batches(rng, host_id, 30, rng.randbytes(16))
        await deliver(store.address, tls.host(host_id), mine, host_id)
        batches += mine
    found = everything(batches)
    plain = st.one_of(
        strategies.filters(T0, 3 * DAY_NS),
        st.builds(
            lambda user, start: pb.EventFilter(
                users=user, from_time=clock.to_timestamp(T0 + start * clock.NS)
            ),
            st.lists(st.sampled_from(strategies.USERS), max_size=2, unique=True),
            st.integers(-3, 4),
        ),
        st.builds(
            lambda name: pb.EventFilter(services=[name]), st.sampled_from(strategies.SERVICES)
        ),
    )
    cases = []

    @settings(max_examples=120)
    @given(
        plain,
        st.lists(st.sampled_from(FACETS), max_size=3, unique=True),
        st.lists(st.sampled_from(HOSTS), max_size=1),
        st.sampled_from([0, 60, 3600]),
    )
    def collect(asked, facets, hosts, slice_seconds):
        asked.hosts.extend(hosts)
        cases.append((asked, facets, slice_seconds))

    await asyncio.to_thread(collect)
    total = 0
    for asked, facets, step in cases:
        matcher, hosts = Matcher(asked), set(asked.hosts)
        mine = [
            e for e in found if matcher.matches(e[3], e[4]) and (not hosts or e[5].host_id in hosts)
        ]
        answer = await store.stub.SummariseEvents(
            pb.SummariseEventsRequest(filter=asked, facets=facets, top=100, slice_seconds=step)
        )
        assert answer.complete
        assert answer.total_count == len(mine), asked
        assert [facet.name for facet in answer.facets] == facets
        for facet in answer.facets:
            right = Counter(
                show(value)
                for _, _, _, image, event, header in mine
                for value in values(facet.name, image, event, header)
            )
            assert {v.value: v.count for v in facet.values} == right, (facet.name, asked)
            counts = [(-v.count, v.value) for v in facet.values]
            assert counts == sorted(counts)
        if step:
            right = Counter(
                (e[0] // clock.NS // step * step, e[4].WhichOneof("kind")) for e in mine
            )
            assert {(s.start_time.seconds, s.kind): s.count for s in answer.slices} == right
        total += len(mine)
    assert total > 2000


async def test_values_that_are_not_listed_are_counted_together(store, tls):
    rng = random.Random(6)
    await deliver(
        store.address, tls.host(HOSTS[0]), random_batches(rng, HOSTS[0], 30, bytes(16)), HOSTS[0]
    )
    for facet in ("kind", "user"):
        whole, one = [
            (
                await store.stub.SummariseEvents(pb.SummariseEventsRequest(facets=[facet], top=top))
            ).facets[0]
            for top in (100, 1)
        ]
        assert len(one.values) == 1
        assert one.values[0] == whole.values[0]
        assert one.other_count == sum(v.count for v in whole.values[1:])


@pytest.mark.parametrize(
    "asked",
    [{"facets": ["nonsense"]}, {"facets": ["kind", "kind"]}, {"slice_seconds": 7}, {"top": 101}],
)
async def test_summaries_that_cannot_be_made_are_refused(store, asked):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await store.stub.SummariseEvents(pb.SummariseEventsRequest(**asked))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
