from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent.stages.budget import BURST_S, Budgets
from tests.builders import an_image

SECOND = 1_000_000_000


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 2)), max_size=300))
def test_what_passes_and_what_is_told_as_lost_is_all_there_was(speech):
    budgets, now = Budgets(1), 0
    offered, passed = Counter(), Counter()
    for service, pause in speech:
        now += pause * SECOND
        budgets.refill(now)
        image = an_image(service=service)
        offered[service] += 1
        passed[service] += budgets.take(image, now)
    lost = Counter()
    for loss in budgets.losses(now, all_of_them=True):
        lost[loss.service] += loss.count
    assert passed + lost == offered
    assert all(passed[who] <= BURST_S + now // SECOND for who in passed)


def test_a_noisy_service_takes_nothing_from_another():
    budgets = Budgets(5)
    noisy, quiet = an_image(service="noisy"), an_image(service="quiet")
    assert sum(budgets.take(noisy, 0) for _ in range(1000)) == 5 * BURST_S
    assert budgets.take(quiet, 0)


def test_a_session_has_a_budget_of_its_own():
    budgets = Budgets(1)
    first = an_image(service="", session_id=1, login_user="alice")
    second = an_image(service="", session_id=2, login_user="alice")
    assert sum(budgets.take(first, 0) for _ in range(100)) == BURST_S
    assert budgets.take(second, 0)
    (loss,) = budgets.losses(0, all_of_them=True)
    assert (loss.service, loss.who) == ("", "session 1 of alice")


def test_a_loss_is_told_while_it_goes_on_and_once():
    budgets = Budgets(1)
    for _ in range(BURST_S + 3):
        budgets.take(an_image(service="a"), SECOND)
    assert not list(budgets.losses(2 * SECOND))
    assert [loss.count for loss in budgets.losses(6 * SECOND)] == [3]
    assert not list(budgets.losses(60 * SECOND))


def test_no_limit_lets_everything_pass():
    budgets = Budgets(0)
    assert all(budgets.take(an_image(service="a"), 0) for _ in range(1000))
