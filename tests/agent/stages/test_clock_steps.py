from hypothesis import given
from hypothesis import strategies as st

from agent.stages.clock_steps import STEP_NS, ClockSteps

S = 1_000_000_000
TICK = 50_000_000


def steps_of(offsets, every=TICK):
    """What a clock tells whose difference is one of `offsets` after the other, tick by tick."""
    now = [offsets[0]]
    clock, told = ClockSteps(lambda: now[0]), []
    for at, offset in enumerate(offsets):
        now[0] = offset
        told.append(clock.look(at * every))
    return told


def test_a_clock_that_is_set_is_told_once_with_its_sign():
    assert steps_of([0, 0, 3600 * S, 3600 * S, 0]) == [0, 0, 3600 * S, 0, -3600 * S]


def test_a_clock_that_is_slewed_is_not_set():
    assert not any(steps_of(range(0, 100 * TICK // 2000, TICK // 2000)))


def test_a_long_pause_of_the_agent_is_no_step():
    assert steps_of([0, 3 * S], every=7200 * S) == [0, 0]


def test_a_reading_that_was_held_up_is_read_again():
    readings = iter([0, 0, 0, 2 * S, 100, 100])
    clock = ClockSteps(lambda: next(readings))
    assert [clock.look(at * TICK) for at in range(3)] == [0, 0, 0]
    assert clock.offset_ns == 100


@given(st.lists(st.integers(-(10**18), 10**18), min_size=1, max_size=30))
def test_the_steps_add_up_to_the_difference(offsets):
    told = steps_of(offsets)
    unsaid = STEP_NS + TICK
    assert abs(sum(told) - (offsets[-1] - offsets[0])) <= unsaid * len(offsets)
