"""Times keep their value whatever form they take."""

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from chassis import clock

NANOSECONDS = st.integers(min_value=-clock.LIMIT, max_value=clock.LIMIT)


@given(NANOSECONDS)
def test_timestamps_round_trip(ns):
    assert clock.from_timestamp(clock.to_timestamp(ns)) == ns


def test_absurd_timestamps_stay_within_64_bits():
    for seconds in (-(1 << 62), 1 << 62):
        assert abs(clock.from_timestamp(Timestamp(seconds=seconds))) == clock.LIMIT


def test_rfc3339_has_three_fraction_digits_always():
    assert clock.rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert clock.rfc3339(1_795_000_000 * clock.NS + 5_000_000) == "2026-11-18T11:06:40.005Z"


def test_boot_plus_offset_is_the_wall():
    before, boot, after = clock.wall_ns(), clock.boot_ns(), clock.wall_ns()
    assert before - 1_000_000 < boot + clock.wall_minus_boot_ns() < after + 1_000_000
