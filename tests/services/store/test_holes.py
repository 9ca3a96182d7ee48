"""Missing batches: given up as their agent said, or missing without a word."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as api
from services.store.domain.holes import Claim, Holes, claims_of
from tests.builders import CHAIN, HOST, a_body, a_chain, an_event
from tests.services_client import Deliverer

KEY = Ed25519PrivateKey.from_private_bytes(b"h" * 32)
EVICTION, DAMAGE, GIVEN_UP = (
    events.Gap.CAUSE_SPOOL_EVICTION,
    events.Gap.CAUSE_SPOOL_DAMAGE,
    events.Gap.CAUSE_GIVEN_UP,
)


def a_gap(first: int, last: int) -> events.EventBatch:
    gap = events.Gap(
        cause=EVICTION,
        precision=events.Gap.PRECISION_EXACT,
        lost=9,
        source="spool",
        first_batch=first,
        last_batch=last,
    )
    body = a_body()
    body.events.append(an_event(None, gap=gap))
    return body


async def ship(store, tls, chain, dropped=()):
    """Deliver a chain without batches 3 to 5, of which `dropped` are said to be given up."""
    host = tls.host(signing_key=KEY.public_key().public_bytes_raw())
    async with Deliverer(store.address, host, HOST) as stream:
        await stream.hello([CHAIN])
        await stream.send(chain[:2])
        for first, last, count, cause in dropped:
            hole = pb.Dropped(
                chain_id=CHAIN, first=first, last=last, event_count=count, cause=cause
            )
            await stream.write(pb.AgentMessage(dropped=hole))
            assert (await stream._read()).receipt.settled_through == last
        await stream.send(chain[5:])


async def report_of(store):
    return await store.stub.VerifyCustody(api.VerifyCustodyRequest(host_id=HOST))


@pytest.mark.parametrize("signed", [True, False])
async def test_a_hole_that_a_signed_batch_names_is_stated_and_an_unsigned_one_proves_less(
    store, tls, signed
):
    chain = a_chain([None] * 6 + [a_gap(3, 5)], signer=KEY)
    if not signed:
        chain[-1].signature = b""
    await ship(store, tls, chain)
    report = await report_of(store)
    assert report.intact
    assert [
        (g.first, g.last, g.event_count, g.cause, g.signed) for g in report.chains[0].given_up
    ] == [(3, 5, 9, EVICTION, signed)]


async def test_what_was_said_over_the_connection_is_stated_with_its_cause(store, tls):
    chain = a_chain([None] * 6, signer=KEY)
    await ship(store, tls, chain, dropped=[(3, 4, 7, GIVEN_UP), (5, 5, 0, DAMAGE)])
    report = await report_of(store)
    assert report.intact
    assert [(g.first, g.last, g.event_count, g.cause, g.signed) for g in report.chains[0].given_up]
    gaps = (await store.stub.ListGaps(api.ListGapsRequest(hosts=[HOST]))).gaps
    assert {(g.gap.cause, g.gap.first_batch, g.gap.last_batch, g.gap.lost) for g in gaps} == {
        (GIVEN_UP, 3, 4, 7),
        (DAMAGE, 5, 5, 0),
    }


async def test_what_nobody_speaks_of_is_missing_also_beside_what_was_given_up(store, tls):
    chain = a_chain([None] * 6, signer=KEY)
    await ship(store, tls, chain, dropped=[(3, 4, 7, EVICTION)])
    report = await report_of(store)
    assert not report.intact
    (reported,) = report.chains
    assert [(f.batch_number, f.kind, f.detail) for f in reported.faults] == [
        (5, "missing", "1 batches before 6 are missing")
    ]
    assert [(g.first, g.last) for g in reported.given_up] == [(3, 4)]


async def test_who_deletes_batches_and_writes_that_they_were_given_up_cannot_sign_it(store, tls):
    chain = a_chain([None] * 5 + [a_gap(90, 91)], signer=KEY)
    host = tls.host(signing_key=KEY.public_key().public_bytes_raw())
    async with Deliverer(store.address, host, HOST) as stream:
        await stream.hello([CHAIN])
        await stream.send(chain)
    (day,) = [n for n in await store.database.list_collection_names() if n.startswith("batches_2")]
    key = f"{HOST}/{CHAIN.hex()}"
    await store.database[day].delete_one({"_id": f"{key}/{3:015d}"})
    assert not (await report_of(store)).intact
    gap = a_gap(3, 3).events[-1].gap
    forged = {"h": HOST, "t0": 0, "t1": 0, "b": 3, "gap": gap.SerializeToString()}
    await store.database["gaps"].insert_one({"_id": f"{key}/{6:015d}/9", **forged})
    report = await report_of(store)
    assert [(g.first, g.last, g.signed) for g in report.chains[0].given_up] == [(3, 3, False)]


numbers = st.integers(1, 60)
stretches = st.tuples(numbers, st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.sets(numbers, max_size=60), st.lists(st.tuples(stretches, st.booleans()), max_size=8))
def test_every_missing_number_is_either_stated_or_missing_and_none_both(gone, said):
    holes = Holes(
        [
            Claim(first, last, 5, EVICTION, witness=100 + at if signed else 0)
            for at, ((first, last), signed) in enumerate(said)
        ]
    )
    for at, ((first, last), signed) in enumerate(said):
        if signed:
            assert holes.asks(100 + at)
            holes.hear(a_gap(first, last).SerializeToString())
    before = 0
    for number in sorted(set(range(1, 62)) - gone):
        if number > before + 1:
            holes.add(before + 1, number - 1)
        before = number
    missing = {n for first, last in holes.missing() for n in range(first, last + 1)}
    stated = [n for one in holes.given_up for n in range(one.first, one.last + 1)]
    claimed = {n for (first, last), _ in said for n in range(first, last + 1)}
    assert len(stated) == len(set(stated))
    assert set(stated) == gone & claimed
    assert missing == gone - claimed
    shown = {n for (first, last), signed in said if signed for n in range(first, last + 1)}
    assert {
        n for one in holes.given_up if one.signed for n in range(one.first, one.last + 1)
    } == gone & shown


def test_claims_are_those_of_the_chain():
    gap = a_gap(3, 4).events[-1].gap
    said = [(f"h/c1/{7:015d}/0", gap), ("h/c1/dropped/3-4", gap), (f"h/c10/{7:015d}/0", gap)]
    assert [claim.witness for claim in claims_of("h/c1", said)] == [7, 0]
