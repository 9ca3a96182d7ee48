"""Nonces and rates: what holds at their bounds."""

import pytest

from enrolment.nonces import Nonces
from enrolment.rates import Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_nonce_is_in_force_for_a_minute():
    clock = Clock()
    given = Nonces(clock)
    first, second = given.give(), given.give()
    clock.now = 60.0
    assert given.take(first)
    assert not given.take(first)
    clock.now = 60.1
    assert not given.take(second)


def test_nonces_are_bounded_and_the_oldest_goes_first():
    given = Nonces(Clock(), most=3)
    made = [given.give() for _ in range(4)]
    assert [given.take(nonce) for nonce in made] == [False, True, True, True]


def test_nonces_that_are_over_are_forgotten():
    clock = Clock()
    given = Nonces(clock)
    for _ in range(5):
        given.give()
    clock.now = 61.0
    given.give()
    assert len(given._given) == 1


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("nonsense", "", True),
    ],
)
def test_addresses_of_one_customer_share_a_bucket(one, other, together):
    asked = Rates(1, Clock())
    assert asked.wait_s(one) == 0
    assert (asked.wait_s(other) > 0) is together


def test_a_bucket_fills_again_in_a_minute_and_waiting_as_told_suffices():
    clock = Clock()
    asked = Rates(3, clock)
    assert [asked.wait_s("a") for _ in range(4)] == [0, 0, 0, 20]
    clock.now = 20.0
    assert asked.wait_s("a") == 0
    assert asked.wait_s("a") == pytest.approx(20)
    clock.now = 200.0
    assert [asked.wait_s("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_buckets_are_bounded():
    asked = Rates(1, Clock(), most_addresses=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        asked.wait_s(address)
    assert len(asked._buckets) == 2
