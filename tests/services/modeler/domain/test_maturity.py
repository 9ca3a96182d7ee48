"""The prediction, its bound, and the rule that acts on them."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightherd.modeler.v1 import model_pb2 as pb
from services.modeler.domain.calendar import Calendar
from services.modeler.domain.evidence import Evidence
from services.modeler.domain.lifecycle import Rule
from services.modeler.domain.maturity import Maturity, maturity, quantile, upper_bound
from services.modeler.domain.stories import starts

LEARNING, DRY, EXTENDED, ACTIVE = (
    pb.MODEL_STATE_LEARNING,
    pb.MODEL_STATE_DRY_RUN,
    pb.MODEL_STATE_LEARNING_EXTENDED,
    pb.MODEL_STATE_ACTIVE,
)
DAYS = Calendar()


def seen(*days, host="h"):
    """Evidence of a behaviour seen at noon of these days."""
    units = tuple(day * 24 + 12 for day in days)[:3]
    return Evidence(units, tuple(days)[:3], (host,), units[-1])


def exact(size: Decimal, probability: Decimal) -> int:
    """Return the 95 % quantile by the recurrence of the probabilities, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        term = probability**size
        total, n = term, 0
        while total < Decimal("0.95"):
            term *= (n + size) / (n + 1) * (1 - probability)
            total, n = total + term, n + 1
        return n


@pytest.mark.parametrize("size", ["0.5", "1.5", "3", "10.5", "100.5", "5000.5"])
@pytest.mark.parametrize("probability", ["0.1", "0.5", "0.75", "0.96875"])
def test_the_quantile_is_exact(size, probability):
    expected = exact(Decimal(size), Decimal(probability))
    assert quantile(float(size), float(probability)) == expected


def test_the_quantile_of_known_distributions():
    assert quantile(1, 0.5) == 4  # geometric: 1 - 2**-5 is the first above 0.95
    assert quantile(1, 0.05) == 58  # 0.95**59 < 0.05 <= 0.95**58
    assert quantile(7, 1.0) == 0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_the_bound_is_never_below_the_prediction(a_span):
    assert upper_bound(sum(a_span), a_span) >= int(sum(a_span) / len(a_span))


def test_a_spread_over_days_widens_the_bound():
    assert upper_bound(12, [12, 0, 0, 0, 0, 0]) > upper_bound(12, [2, 2, 2, 2, 2, 2])


def test_what_one_host_shows_within_six_quiet_units_is_one_story():
    def at(unit, host="a"):
        return Evidence((unit,), (0,), (host,), unit)

    assert starts([at(1), at(7), at(13)], 24) == [1]
    assert starts([at(1), at(8)], 24) == [1, 8]
    assert starts([at(1), at(1, "b")], 24) == [1, 1]
    whole_herd = Evidence((1,), (0,), ("a", "b", "c"), 1)
    assert starts([whole_herd, whole_herd], 24) == [1]


def test_what_never_comes_to_rest_is_a_story_a_span():
    restless = [Evidence((unit,), (unit // 24,), ("a",), unit) for unit in range(96)]
    assert starts(restless, 24) == [0, 24, 48, 72]


def test_the_running_day_and_days_without_activity_do_not_count():
    found = maturity([1, 5, 6], [seen(1, 5), seen(5), seen(6)], before_span=6, calendar=DAYS)
    assert (found.spans, found.singles) == (2, 1)
    assert found.predicted == 0.5
    assert found.bound >= 1
    assert maturity([6], [seen(6)], 6, DAYS) == Maturity()


def live(rule, days, behaviours, state=LEARNING):
    """Return the states at the end of each day."""
    states = []
    for day in range(1, max(days) + 2):
        state = rule.next_state(state, maturity(days, behaviours, day, DAYS))
        states.append(state)
    return states


def test_a_steady_service_learns_dry_runs_and_activates():
    states = live(Rule(), range(6), [seen(0, 1, 2), seen(0, 1, 2)])
    assert states == [LEARNING, DRY, DRY, ACTIVE, ACTIVE, ACTIVE]


def test_news_in_the_dry_run_sends_it_back_to_learn_until_it_is_calm():
    behaviours = [seen(0, 1, 2), seen(2, 3, 4), seen(3, 4, 5)]
    states = live(Rule(), range(9), behaviours)
    assert states[2] == DRY
    assert EXTENDED in states
    assert states[-1] == ACTIVE


def test_a_service_that_never_settles_never_activates_and_says_why():
    behaviours = [seen(day) for day in range(20)]
    states = live(Rule(), range(20), behaviours)
    assert ACTIVE not in states
    found = maturity(range(20), behaviours, 20, DAYS)
    assert found.predicted == 1
    told = Rule().waiting_for(states[-1], found)
    assert any("20 new stories" in sentence for sentence in told)


def test_manual_states_are_left_alone():
    for state in (pb.MODEL_STATE_MANUAL_LEARNING, pb.MODEL_STATE_MANUAL_ACTIVE, ACTIVE):
        assert Rule().next_state(state, Maturity(spans=9)) == state
        assert Rule().waiting_for(state, Maturity()) == []
