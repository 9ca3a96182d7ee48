"""Pages of events from the real store: the same as sorting all events and cutting them up."""

import asyncio
import random

import grpc
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis import clock
from evidence.matching import Matcher
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.domain.places import batch_key
from tests.builders import T0, a_body, a_person, an_event, an_image, changes, sealed_batch
from tests.evidence import strategies
from tests.services_client import deliver

DAY_NS = 86_400 * clock.NS
HOSTS = [f"{number:032x}" for number in (1, 2, 3)]


def random_body(rng, first_ns, span_ns):
    images = [
        an_image(
            rng.choice(strategies.PROGRAMS),
            rng.choices(strategies.WORDS, k=rng.randrange(1, 4)),
            pid=rng.randrange(1, 4),
            service=rng.choice(["", *strategies.SERVICES]),
            user=rng.choice(strategies.USERS),
            login_user=rng.choice(["", *strategies.USERS]),
            session_id=rng.choice([None, 0, 1, 2]),
            script=rng.choice([b"", b"", *strategies.PROGRAMS]),
        )
        for _ in range(rng.randrange(1, 4))
    ]
    body = events.EventBatch(images=images)
    for _ in range(rng.randrange(1, 7)):
        kind = rng.choice(
            [
                {"exec": events.Exec()},
                {"file_change": changes(*rng.choices(strategies.PATHS, k=2))},
                {"session_start": events.SessionStart(session_id=rng.randrange(3))},
                {"service_change": events.ServiceChange(unit=rng.choice(strategies.SERVICES))},
            ]
        )
        actor = rng.choice([None, *range(len(images))])
        # Coarse times: many events of several batches at the same moment.
        moment = first_ns + rng.randrange(span_ns // clock.NS + 1) * clock.NS
        body.events.append(an_event(actor, moment, **kind))
    return body


def random_batches(rng, host_id, count, chain_id):
    """Batches over three days that overlap; some span long, some were sealed days later."""
    batches = []
    for number in range(1, count + 1):
        span = rng.choice([0, 4, 4, 4, 40, 4000]) * clock.NS
        first = T0 + rng.randrange(-3, 3) * clock.NS + rng.choice([0, 0, DAY_NS, 2 * DAY_NS])
        body = random_body(rng, first, span)
        late = rng.choice([0, 0, DAY_NS, 3 * DAY_NS])
        last = max(clock.from_timestamp(event.event_time) for event in body.events)
        batches.append(
            sealed_batch(
                body,
                number,
                host_id=host_id,
                chain_id=chain_id,
                sealed_ns=last + late,
            )
        )
    return batches


def everything(batches):
    """All events as (time, key, place, image, event)."""
    found = []
    for batch in batches:
        header = delivery.BatchHeader.FromString(batch.header)
        key = batch_key(header.host_id, header.chain_id, header.batch_number)
        body = events.EventBatch.FromString(zstandard.decompress(batch.body))
        for place, event in enumerate(body.events):
            image = body.images[event.actor] if event.HasField("actor") else None
            time_ns = clock.from_timestamp(event.event_time)
            found.append((time_ns, key, place, image, event, header))
    return found


def expected(found, asked, *, ascending):
    matcher = Matcher(asked)
    hosts = set(asked.hosts)
    kept = [
        (time_ns, key, place)
        for time_ns, key, place, image, event, header in found
        if matcher.matches(image, event)
        and (not hosts or header.host_id in hosts)
        and matcher.herd(header.herd)
    ]
    return sorted(kept, reverse=not ascending)


def place_of(record):
    key = batch_key(record.host_id, record.chain_id, record.batch_number)
    return clock.from_timestamp(record.event.event_time), key, record.place


async def pages(stub, asked, limit, *, ascending=False, between=None):
    found, cursor = [], ""
    while True:
        answer = await stub.SearchEvents(
            pb.SearchEventsRequest(filter=asked, limit=limit, cursor=cursor, ascending=ascending)
        )
        assert len(answer.events) <= limit
        found += [place_of(record) for record in answer.events]
        cursor = answer.next_cursor
        if not cursor:
            return found
        if between is not None:
            await between()


@pytest.fixture
async def filled(store, tls):
    rng = random.Random(4)
    batches = []
    for host_id in HOSTS:
        mine = random_batches(rng, host_id, 40, rng.randbytes(16))
        await deliver(store.address, tls.host(host_id), mine, host_id)
        batches += mine
    return store, everything(batches)


async def test_any_filter_finds_what_going_through_all_events_finds(filled):
    store, found = filled

    @settings(max_examples=80)
    @given(
        strategies.filters(T0, 3 * DAY_NS),
        st.lists(st.sampled_from(HOSTS), max_size=2, unique=True),
        st.sampled_from([3, 40, 300]),
        st.booleans(),
    )
    def check(asked, hosts, limit, ascending):
        asked.hosts.extend(hosts)
        cases.append((asked, limit, ascending))

    cases = []
    await asyncio.to_thread(check)
    hits = 0
    for asked, least, ascending in cases:
        right = expected(found, asked, ascending=ascending)
        limit = max(least, len(right) // 20)  # twenty pages tell what hundreds would
        assert await pages(store.stub, asked, limit, ascending=ascending) == right, asked
        hits += len(right)
    assert hits > 500


@pytest.mark.parametrize("ascending", [False, True])
async def test_pages_neither_skip_nor_repeat_while_events_arrive(filled, tls, ascending):
    store, found = filled
    rng = random.Random(5)
    chain = rng.randbytes(16)
    late = random_batches(rng, HOSTS[0], 60, chain)
    waiting = list(late)
    arrived = []

    async def arrive():
        some, waiting[:] = waiting[:6], waiting[6:]
        if some:
            await deliver(store.address, tls.host(HOSTS[0]), some, HOSTS[0])
            arrived.extend(some)

    seen = await pages(store.stub, pb.EventFilter(), 25, ascending=ascending, between=arrive)
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=not ascending)
    before = expected(found, pb.EventFilter(), ascending=ascending)
    assert set(before) <= set(seen)
    assert set(seen) <= set(before) | {e[:3] for e in everything(arrived)}
    assert len(arrived) > 20


async def test_herds_and_names_of_hosts_are_asked_for_as_sealed(store, tls):
    for host_id, herd, name in ((HOSTS[0], "web", "web-1"), (HOSTS[1], "db", "db-1")):
        facts = events.Event(
            event_time=clock.to_timestamp(T0), host_facts=events.HostFacts(hostname=name)
        )
        batch = sealed_batch(events.EventBatch(events=[facts]), host_id=host_id, herd=herd)
        await deliver(store.address, tls.host(host_id, herd), [batch], host_id)
    for asked in ({"herds": ["web"]}, {"hosts": ["web-1"]}, {"hosts": [HOSTS[0]]}):
        answer = await store.stub.SearchEvents(
            pb.SearchEventsRequest(filter=pb.EventFilter(**asked))
        )
        (record,) = answer.events
        assert (record.host_id, record.hostname, record.herd) == (HOSTS[0], "web-1", "web")
        assert not answer.next_cursor
    nobody = pb.SearchEventsRequest(filter=pb.EventFilter(hosts=["nobody"]))
    with pytest.raises(grpc.aio.AioRpcError, match="There is no host nobody"):
        await store.stub.SearchEvents(nobody)


async def test_what_became_known_late_about_a_session_is_joined(store, tls):
    early = a_person(login_user="", terminal="", source_address="", session_id=7)
    start = events.SessionStart(session_id=7, login_user="alice", source_address="192.0.2.7")
    other = sealed_batch(a_body((an_image(), an_event(time_ns=T0 + 1000, session_start=start))), 2)
    await deliver(
        store.address,
        tls.host(HOSTS[0]),
        [
            sealed_batch(a_body((early, an_event())), host_id=HOSTS[0]),
        ],
        HOSTS[0],
    )
    await deliver(
        store.address, tls.host(), [sealed_batch(a_body((early, an_event()))), other], "0" * 32
    )
    answer = await store.stub.SearchEvents(
        pb.SearchEventsRequest(filter=pb.EventFilter(session_ids=[7], kinds=["exec"]))
    )
    told = {record.host_id: record.image for record in answer.events}
    assert (told["0" * 32].login_user, told["0" * 32].source_address) == ("alice", "192.0.2.7")
    assert not told[HOSTS[0]].source_address, "another host's session of the same number"


async def test_both_versions_of_a_fork_are_found(store, tls):
    versions = [
        sealed_batch(a_body((an_image(arguments=[word]), an_event())), host_id=HOSTS[0])
        for word in ("one", "two")
    ]
    for version in versions:
        await deliver(store.address, tls.host(HOSTS[0]), [version], HOSTS[0])
    found = await pages(store.stub, pb.EventFilter(kinds=["exec"]), 1)
    assert len(found) == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"cursor": "nonsense"},
        {"cursor": "A" * 900},
        {"limit": 1001},
        {"limit": -1},
        {"filter": {"kinds": ["nonsense"]}},
        {"filter": {"users": [""]}},
        {"filter": {"users": ["x"] * 101}},
        {"filter": {"search": "x" * 257}},
        {"filter": {"session_ids": [-1]}},
    ],
)
async def test_questions_that_cannot_be_asked_are_refused(store, asked):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await store.stub.SearchEvents(pb.SearchEventsRequest(**asked))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
