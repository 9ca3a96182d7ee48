"""What a model allows."""

from hypothesis import given
from hypothesis import strategies as st

from behaviour.behaviours import Behaviour
from behaviour.matcher import allows, deviation
from behaviour.model import Model, by_facet, from_message, to_message
from nightherd.modeler.v1 import model_pb2 as pb

RUNS, WRITES, OBTAINS = pb.FACET_RUNS, pb.FACET_WRITES, pb.FACET_OBTAINS
BEHAVIOURS = st.builds(
    Behaviour,
    st.sampled_from([RUNS, WRITES, pb.FACET_LISTENS, pb.FACET_CONNECTS, OBTAINS]),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
)


def a_model(*behaviours, **fields):
    return Model("default", "x.service", subjects=by_facet(behaviours), **fields)


@given(st.sets(BEHAVIOURS), BEHAVIOURS)
def test_what_was_learned_is_allowed_and_only_that(learned, other):
    model = a_model(*learned)
    assert all(deviation(model, behaviour) is None for behaviour in learned)
    if not model.known(OBTAINS):
        assert allows(model, other) == (other in learned)


@given(st.sets(BEHAVIOURS), st.sampled_from(pb.ModelState.values()), st.integers(0, 2**40))
def test_a_model_survives_its_message(learned, state, revision):
    model = a_model(*learned, state=state, revision=revision)
    assert from_message(to_message(model)) == model


def test_a_capability_allows_its_programs_and_files():
    model = a_model(Behaviour(OBTAINS, "USERS_ADMIN"))
    assert allows(model, Behaviour(RUNS, "/usr/sbin/usermod"))
    assert allows(model, Behaviour(WRITES, "/etc/gshadow.<n>"))
    assert not allows(model, Behaviour(RUNS, "/usr/bin/apt"))
    assert not allows(model, Behaviour(WRITES, "/etc/hosts"))
    assert not allows(model, Behaviour(OBTAINS, "NET"))


def test_a_deviation_names_what_is_known_nearest():
    model = a_model(*(Behaviour(RUNS, p) for p in ("/a/b", "/usr/bin/ab", "/usr/bin/xy", "/usr/z")))
    found = deviation(model, Behaviour(RUNS, "/usr/bin/abc"))
    assert found.nearest == ("/usr/bin/ab", "/usr/bin/xy", "/usr/z")
    assert found.known_count == 4


def test_only_two_states_are_in_force():
    active = [s for s in pb.ModelState.values() if a_model(state=s).active]
    assert active == [pb.MODEL_STATE_ACTIVE, pb.MODEL_STATE_MANUAL_ACTIVE]
