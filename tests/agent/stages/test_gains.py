import pytest

from agent.processes import Process
from agent.sensors.records import UNSET_ID, ProcessRecord
from agent.stages.gains import Gains
from nightherd.event.v1 import event_pb2 as events

Gain = events.PrivilegeGain
ALICE = (1001, 1001, 1001)
SET_USER_ID = 1 << events.TRAIT_SET_USER_ID


def a_record(users=ALICE, kind="exec", program=b"/home/alice/x", **fields) -> ProcessRecord:
    real, effective, saved = users
    return ProcessRecord(
        kind=kind,
        boot_ns=1,
        start_ns=1,
        pid=100,
        ppid=1,
        session_leader=100,
        user_id=real,
        effective_user_id=effective,
        login_user_id=UNSET_ID,
        session_id=UNSET_ID,
        terminal="",
        exit_status=0,
        requested_path=program,
        executable=program,
        arguments=(),
        arguments_cut=False,
        working_directory=b"/",
        cgroup="",
        exact=True,
        saved_user_id=saved,
        **{"inode": 7, **fields},
    )


@pytest.fixture
def gains():
    known = Gains()
    known.calls_seen = True
    return known


@pytest.fixture
def alices():
    return Process(100, 1, 1, 100, executable=b"/home/alice/exploit", users=ALICE)


def test_a_setuid_program_gives_what_its_real_user_did_not_have(gains, alices):
    gain = gains.executed(alices, a_record((1001, 0, 0), traits=SET_USER_ID), b"/bin/sh")
    assert gain.way == Gain.WAY_SET_USER_ID_PROGRAM
    assert (gain.previous_effective_user_id, gain.effective_user_id) == (1001, 0)
    assert gains.executed(alices, a_record((1001, 0, 0), traits=SET_USER_ID), b"/x") is None


def test_a_program_that_is_there_for_it_gives_nothing(gains, alices):
    record = a_record((1001, 0, 0), program=b"/usr/bin/sudo", traits=SET_USER_ID)
    assert gains.executed(alices, record, b"/bin/sh") is None
    other = a_record((1001, 0, 0), program=b"/tmp/usr/bin/sudo", traits=SET_USER_ID)
    alices.users = ALICE
    assert gains.executed(alices, other, b"/bin/sh") is not None
    assert gains.is_there_for_it(b"/snap/snapd/123/usr/lib/snapd/snap-confine")


@pytest.mark.parametrize("kind", ["fork", "exit"])
@pytest.mark.parametrize("seen", [True, False])
def test_ids_that_nothing_explains_are_told(gains, alices, kind, seen):
    gains.calls_seen = seen
    gain = gains.seen(alices, a_record((0, 0, 0), kind))
    assert gain.way == (Gain.WAY_UNEXPLAINED if seen else Gain.WAY_UNSPECIFIED)
    assert gains.seen(alices, a_record((0, 0, 0), kind)) is None  # told once


def test_an_execution_as_root_that_nothing_explains_is_told(gains, alices):
    gain = gains.executed(alices, a_record((0, 0, 0)), b"/home/alice/exploit")
    assert gain.way == Gain.WAY_UNEXPLAINED


@pytest.mark.parametrize("before", [(0, 1001, 0), (1001, 1001, 0), (0, 0, 0), None])
def test_who_had_roots_rights_in_reserve_gains_nothing(gains, alices, before):
    alices.users = before
    assert gains.seen(alices, a_record((0, 0, 0), "fork")) is None
    alices.users = before
    assert gains.executed(alices, a_record((0, 0, 0)), b"/x") is None


def test_a_call_that_was_told_needs_no_other_explanation(gains, alices):
    gain = gains.called(alices, 1001, 0)
    assert gain.way == Gain.WAY_SYSTEM_CALL
    assert gains.executed(alices, a_record((0, 0, 0)), b"/x") is None


def test_without_an_inode_the_user_ids_tell_of_a_setuid_program(gains, alices):
    record = a_record((1001, 0, UNSET_ID), inode=0)
    assert gains.executed(alices, record, b"/bin/sh").way == Gain.WAY_SET_USER_ID_PROGRAM
