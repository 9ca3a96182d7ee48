"""A process that writes its own audit login uid stays whose it was, and is told of once."""

import pytest

from agent.audit_events import events_of
from agent.sensors.records import UNSET_ID, AuditRecord
from nightherd.event.v1 import event_pb2 as events
from tests.agent.stages.host import Host

UNSET = (UNSET_ID, UNSET_ID)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "passwd")


def changes(host):
    told, host.identifier.book.login_changes = host.identifier.book.login_changes, []
    return [(change.process.pid, change.before, change.now) for change in told]


def login_record(pid, old, new, res=1):
    text = (
        f"pid={pid} uid=0 old-auid={old[0]} auid={new[0]} tty=(none) old-ses={old[1]} ses={new[1]} "
        f"res={res}"
    )
    return AuditRecord("LOGIN", 1, 1, text.encode())


@pytest.mark.parametrize("now", [UNSET, (0, 99), (1002, 99)])
@pytest.mark.parametrize("seen_at", ["exec", "fork of a child", "audit record"])
def test_a_change_is_told_once_however_it_shows_and_nothing_else_changes(host, now, seen_at):
    _, shell = host.sshd()
    pid, before = host.run(shell, "/usr/bin/python3.11", "evade.py")
    assert changes(host) == []
    host.login(pid, now[1], now[0])
    if seen_at == "audit record":
        assert not list(events_of(login_record(pid, (1001, 7), now), host.identifier, host.now))
    if seen_at != "fork of a child":
        host.exec(pid, "/bin/sh")
    child, image = host.run(pid, "/usr/sbin/useradd", "bob")
    host.run(child, "/bin/true")
    list(events_of(login_record(pid, (1001, 7), now), host.identifier, host.now))
    assert changes(host) == [(pid, (1001, 7), now)]
    for each in (image, host.image(pid)):
        assert (each.login_user, each.session_id) == ("alice", 7)
        assert each.provenance == before.provenance == events.PROVENANCE_INTERACTIVE
    assert not changes(host)


def test_each_further_change_is_told(host):
    _, shell = host.sshd()
    for number, now in enumerate([UNSET, (0, 50), (0, 51), UNSET]):
        host.login(shell, now[1], now[0])
        host.exec(shell, "/bin/bash", str(number))
    assert [change[1:] for change in changes(host)] == [
        ((1001, 7), UNSET),
        (UNSET, (0, 50)),
        ((0, 50), (0, 51)),
        ((0, 51), UNSET),
    ]
    assert host.image(shell).login_user == "alice"


def test_a_login_is_no_change(host):
    monitor, shell = host.sshd()
    list(events_of(login_record(monitor, UNSET, (1001, 7)), host.identifier, host.now))
    host.run(shell, "/bin/ls")
    cron, _ = host.run(shell, "/usr/sbin/cron")  # started by hand: its jobs are scheduled still
    job = host.fork(cron)
    host.login(job, 12, 1002)
    _, image = host.run(job, "/bin/sh")
    assert image.provenance == events.PROVENANCE_SCHEDULED
    assert changes(host) == []


def test_a_refused_change_is_none(host):
    _, shell = host.sshd()
    record = login_record(shell, (1001, 7), UNSET, res=0)
    assert not list(events_of(record, host.identifier, host.now))
    assert changes(host) == []


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 50, "\N{GREEK SMALL LETTER PI}"])
def test_nonsense_in_a_record_is_survived(host, value):
    _, shell = host.sshd()
    record = login_record(shell, (1001, 7), (value, 99))
    assert not list(events_of(record, host.identifier, host.now))
    assert changes(host) == []
