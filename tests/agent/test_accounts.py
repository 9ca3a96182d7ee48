import pytest

from agent.accounts import Accounts
from nightherd.event.v1 import event_pb2 as events

A = events.AccountChange


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n"
    )
    (tmp_path / "shadow").write_text("root:*:1::::::\nbob:$y$secret:19000:0:99999:7:::\n")
    (tmp_path / "group").write_text("root:x:0:\nsudo:x:27:bob\n")
    return tmp_path


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_an_added_and_a_removed_account_are_told(etc):
    accounts = Accounts(etc)
    edit(etc / "passwd", "bob:x:1001:1001", "eve:x:0:1002")
    added, removed = accounts.changes()
    assert (added.action, added.name, added.number) == (A.ACTION_ADDED, b"eve", 0)
    assert (removed.action, removed.name, removed.number) == (A.ACTION_REMOVED, b"bob", 1001)
    assert not accounts.changes()


def test_a_changed_password_is_told_without_any_hash(etc):
    accounts = Accounts(etc)
    edit(etc / "shadow", "$y$secret", "$y$other")
    (change,) = accounts.changes()
    assert list(change.fields) == ["password"]
    assert b"$y$" not in change.SerializeToString()
    assert "secret" not in repr(accounts.__dict__)


def test_who_came_to_a_group_is_told(etc):
    accounts = Accounts(etc)
    edit(etc / "group", "sudo:x:27:bob", "sudo:x:27:eve,mallory")
    (change,) = accounts.changes()
    assert change.subject == A.SUBJECT_GROUP
    assert list(change.members_added) == [b"eve", b"mallory"]
    assert list(change.members_removed) == [b"bob"]


@pytest.mark.parametrize("content", [b"", b"\xff:\xff\n:::\n", b"x\n" * 100, b"a:b:-1:c\n"])
def test_nonsense_in_the_files_is_survived(etc, content):
    accounts = Accounts(etc)
    for name in ("passwd", "shadow", "group"):
        (etc / name).write_bytes(content)
    accounts.changes()
