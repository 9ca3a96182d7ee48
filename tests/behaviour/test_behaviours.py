"""From events to behaviours, with the real builders' images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviour.behaviours import Behaviour, behaviours_of, has_model, reach
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as pb
from tests.builders import a_person, an_event, an_image, changes

RUNS, WRITES, OBTAINS = pb.FACET_RUNS, pb.FACET_WRITES, pb.FACET_OBTAINS


def of(image, **kind):
    return set(behaviours_of(an_event(**kind), [image]))


def test_an_exec_runs_a_program_and_obtains_its_capability():
    assert of(an_image("/usr/sbin/useradd")) == {
        (RUNS, "/usr/sbin/useradd"),
        (OBTAINS, "USERS_ADMIN"),
    }


def test_a_script_counts_beside_its_interpreter():
    adduser = an_image("/usr/bin/perl", script=b"/usr/sbin/adduser")
    assert of(adduser) == {
        (RUNS, "/usr/bin/perl"),
        (RUNS, "/usr/sbin/adduser"),
        (OBTAINS, "USERS_ADMIN"),
    }


def test_an_impostor_elsewhere_is_only_a_program():
    assert of(an_image("/tmp/useradd")) == {(RUNS, "/tmp/useradd")}


@pytest.mark.parametrize("arguments", [["adduser", "bob"], ["busybox", "adduser", "bob"]])
def test_an_applet_of_busybox_is_a_program_of_its_own(arguments):
    found = of(an_image("/bin/busybox", arguments))
    assert {(RUNS, "/bin/adduser"), (OBTAINS, "USERS_ADMIN")} <= found


def test_changing_an_account_file_obtains_the_capability_whoever_does_it():
    found = of(an_image("/tmp/x"), file_change=changes("/etc/passwd.77", "/etc/shadow"))
    assert found == {
        (WRITES, "/etc/passwd.<n>"),
        (WRITES, "/etc/shadow"),
        (OBTAINS, "USERS_ADMIN"),
    }


@pytest.mark.parametrize(
    "operation", [events.FileChange.OPERATION_LINKED, events.FileChange.OPERATION_TRUNCATED]
)
def test_a_link_and_a_log_that_is_cut_short_are_changes(operation):
    done = changes("/etc/passwd", operation=operation)
    assert of(an_image(), file_change=done) == {(WRITES, "/etc/passwd"), (OBTAINS, "USERS_ADMIN")}


def test_a_rename_changes_both_names():
    change = events.FileChange(
        changes=[
            events.FileChange.Change(
                path=b"/var/x",
                previous_path=b"/etc/hosts",
                operation=events.FileChange.OPERATION_RENAMED,
            )
        ]
    )
    assert (OBTAINS, "HOSTS_CONFIG") in of(an_image(), file_change=change)


def test_ports_and_reach():
    listen = events.Listen(protocol=events.PROTOCOL_TCP, local_port=22)
    assert of(an_image(), listen=listen) == {(pb.FACET_LISTENS, "tcp/22")}
    connect = events.Connect(
        protocol=events.PROTOCOL_TCP, remote_address="10.1.2.3", remote_port=5432
    )
    assert of(an_image(), connect=connect) == {(pb.FACET_CONNECTS, "tcp/5432 private")}
    connect.ClearField("protocol")  # as an audit log has it
    assert of(an_image(), connect=connect) == {(pb.FACET_CONNECTS, "port 5432 private")}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "loopback"),
        ("192.168.0.9", "private"),
        ("fe80::1%eth0", "private"),
        ("fd00::1", "private"),
        ("9.9.9.9", "public"),
        ("2620:fe::fe", "public"),
        ("nonsense", "public"),
    ],
)
def test_reach(address, expected):
    assert reach(address) == expected


def test_maintenance_is_accepted_but_starting_it_is_seen():
    apt = an_image("/usr/bin/apt-get", maintenance=True)
    assert of(apt) == {(RUNS, "/usr/bin/apt-get"), (OBTAINS, "INSTALLER")}
    useradd = an_image("/usr/sbin/useradd", maintenance=True)
    assert of(useradd) == set()
    assert of(useradd, file_change=changes("/etc/passwd")) == set()


def test_only_the_machines_own_work_has_a_model():
    assert has_model(an_image())
    assert has_model(an_image(provenance=events.PROVENANCE_SCHEDULED))
    assert not has_model(an_image(service=""))
    assert not has_model(a_person(service="nginx.service"))
    for provenance in (events.PROVENANCE_DETACHED, events.PROVENANCE_USER_SERVICE, 0):
        assert not has_model(an_image(provenance=provenance))


@given(st.binary(max_size=40), st.one_of(st.none(), st.integers(-3, 3)))
def test_any_names_and_actors_are_read_without_fault(raw, actor):
    image = an_image(raw, script=raw)
    for kind in ({"exec": events.Exec()}, {"file_change": changes(raw)}, {"exit": events.Exit()}):
        for behaviour in behaviours_of(an_event(actor, **kind), [image]):
            assert isinstance(behaviour, Behaviour)
            behaviour.subject.encode()
