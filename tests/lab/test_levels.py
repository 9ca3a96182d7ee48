"""On a stock kernel, at each level: the agent works, and says who added an account."""

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.lab import legs

LEVEL = {
    "full": events.LEVEL_FULL,
    "audit": events.LEVEL_AUDIT,
    "poll": events.LEVEL_POLL,
}


@pytest.fixture(scope="module")
def status(watched, level):
    """What the agent says at this level."""
    said = watched.watch(level)
    yield said
    watched.stop()


@pytest.fixture(scope="module")
def load(busy, host):
    """Nothing beside it; or twice as many programs as cores that only compute."""
    if not busy:
        yield
        return
    hogs = "for i in 1 2 3 4; do (while :; do :; done) & done; wait"
    host.run(f"systemd-run -q --unit lab-hog sh -c '{hogs}'")
    yield
    host.run("systemctl kill -s KILL lab-hog; systemctl reset-failed lab-hog || :")


def test_it_reaches_the_level_and_its_self_test_passes(status, level, watched):
    assert status.level == LEVEL[level], (list(status.not_seen), watched.said())
    assert status.self_test_passed, (list(status.not_seen), watched.said())
    print(f"\n{watched.host.name} {level}: not seen: {list(status.not_seen)}")


@pytest.mark.parametrize("terminal", [True, False], ids=["at a terminal", "without a terminal"])
def test_a_person_adds_an_account_by_ssh_and_sudo(status, load, watched, terminal):
    leg = legs.by_person(watched, terminal=terminal)
    image, _ = leg.added
    wanted = events.PROVENANCE_INTERACTIVE if terminal else events.PROVENANCE_SCRIPTED
    assert image.provenance == wanted, image
    assert (image.login_user, image.user, image.service) == ("alice", "root", ""), image
    assert image.terminal.startswith("pts/") == terminal, image
    assert image.session_id, image
    session = leg.sessions[image.session_id]
    assert session.login_user == "alice"
    assert session.opener == b"/usr/sbin/sshd"
    assert legs.ADDRESS in {image.source_address, session.source_address}, (image, session)


def test_a_daemon_adds_an_account(status, load, watched):
    image, _ = legs.by_unit(watched).added
    assert (image.provenance, image.service) == (events.PROVENANCE_SERVICE, legs.UNIT), image
    assert not image.HasField("login_user_id"), image


def test_a_daemon_that_a_person_left_running_adds_an_account(status, load, watched):
    image, _ = legs.by_hand(watched).added
    assert image.provenance == events.PROVENANCE_DETACHED, image
    assert image.login_user == "alice", image
