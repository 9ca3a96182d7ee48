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
    restarts, log = watched.restarts, watched.said()
    watched.stop()
    assert restarts == 0, log


@pytest.fixture
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


def said(image: events.Image) -> tuple[str, str, str, str]:
    """How an image is shown: provenance, login user, effective user, service."""
    name = events.Provenance.Name(image.provenance).removeprefix("PROVENANCE_").lower()
    return name, image.login_user, image.user, image.service


def nobody_is_named(leg: legs.Leg, level: str) -> bool:
    """Whether the level does not know who did it, which polling may say: but nobody wrong."""
    return level == "poll" and leg.added[1].attribution == events.ATTRIBUTION_UNKNOWN


@pytest.mark.parametrize("terminal", [True, False], ids=["at a terminal", "without a terminal"])
def test_a_person_adds_an_account_by_ssh_and_sudo(status, level, load, watched, terminal):
    leg = legs.by_person(watched, terminal=terminal, unhurried=level == "poll")
    # Polling may not see who did it in time; but it sees what runs for seconds.
    image, event = leg.command if nobody_is_named(leg, level) else leg.added
    provenance = "interactive" if terminal else "scripted"
    assert said(image) == (provenance, "alice", "root", ""), (image, event, leg.account)
    assert image.terminal.startswith("pts/") == terminal, image
    session = leg.sessions[image.session_id]
    assert session.login_user == "alice"
    # Polling may come too late for who opened it, and takes it for a person's.
    assert session.opener == b"/usr/sbin/sshd" or level == "poll"
    assert legs.ADDRESS in {image.source_address, session.source_address}, (image, session)


def test_a_daemon_adds_an_account(status, level, load, watched):
    leg = legs.by_unit(watched)
    image, event = leg.added
    if not nobody_is_named(leg, level):
        assert said(image) == ("service", "", "root", legs.UNIT), (image, event, leg.account)


def test_a_daemon_that_a_person_left_running_adds_an_account(status, level, load, watched):
    leg = legs.by_hand(watched)
    image, event = leg.added
    if not nobody_is_named(leg, level):
        assert said(image)[:3] == ("detached", "alice", "root"), (image, event, leg.account)
