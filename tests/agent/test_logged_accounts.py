"""Operations of account tools, in the words of every tool and age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.logged_accounts import account_change_of, complete
from agent.sensors.audit_fields import read
from nightherd.event.v1 import event_pb2 as events

CHANGE = events.AccountChange
USER, GROUP = CHANGE.SUBJECT_USER, CHANGE.SUBJECT_GROUP


def told(kind, message):
    change = account_change_of(kind, read(kind, b"pid=1 uid=0 auid=0 ses=1 msg='%s'" % message))
    if change is None:
        return None
    if "members" in change.fields:
        return change.name, list(change.members_added), list(change.members_removed)
    return change.action, change.subject, change.name, *change.fields


ALICE = b' acct="alice" exe="/usr/sbin/x" res=success'


@pytest.mark.parametrize(
    ("kind", "operation", "expected"),
    [
        ("ADD_USER", b"add-user", (CHANGE.ACTION_ADDED, USER, b"alice")),
        ("ADD_USER", b"adding user", (CHANGE.ACTION_ADDED, USER, b"alice")),
        ("USER_CHAUTHTOK", b"adding user", (CHANGE.ACTION_ADDED, USER, b"alice")),
        ("DEL_USER", b"delete-user", (CHANGE.ACTION_REMOVED, USER, b"alice")),
        ("DEL_USER", b"deleting user entries", (CHANGE.ACTION_REMOVED, USER, b"alice")),
        ("ADD_GROUP", b"add-group", (CHANGE.ACTION_ADDED, GROUP, b"alice")),
        ("ADD_GROUP", b"adding group to /etc/group", (CHANGE.ACTION_ADDED, GROUP, b"alice")),
        ("DEL_GROUP", b'delete-group grp="staff"', (CHANGE.ACTION_REMOVED, GROUP, b"staff")),
        ("USER_MGMT", b'add-user-to-group grp="wheel"', (b"wheel", [b"alice"], [])),
        ("USER_MGMT", b"add-user-to-group grp=7768656C", (b"whel", [b"alice"], [])),
        ("ADD_USER", b"adding user to group", (b"", [b"alice"], [])),
        ("USER_CHAUTHTOK", b"adding to group", (b"", [b"alice"], [])),
        ("USER_MGMT", b'delete-user-from-group grp="wheel"', (b"wheel", [], [b"alice"])),
        ("USER_MGMT", b'deleting-user-from-group grp="wheel"', (b"wheel", [], [b"alice"])),
        ("USER_CHAUTHTOK", b"removing user from group", (b"", [], [b"alice"])),
        ("USER_ACCT", b"user bob added by root to group docker", (b"docker", [b"bob"], [])),
        ("USER_ACCT", b"user bob removed by root from group docker", (b"docker", [], [b"bob"])),
        ("USER_MGMT", b"changing-uid", (CHANGE.ACTION_CHANGED, USER, b"alice", "uid")),
        ("USER_MGMT", b"changing-shell", (CHANGE.ACTION_CHANGED, USER, b"alice", "shell")),
        ("USER_MGMT", b"changing user shell", (CHANGE.ACTION_CHANGED, USER, b"alice", "shell")),
        ("USER_MGMT", b"changing-home-dir", (CHANGE.ACTION_CHANGED, USER, b"alice", "home")),
        ("USER_MGMT", b"changing primary group", (CHANGE.ACTION_CHANGED, USER, b"alice", "gid")),
        ("USER_MGMT", b"changing-comment", (CHANGE.ACTION_CHANGED, USER, b"alice", "comment")),
        ("USER_MGMT", b"changing expiration date", (CHANGE.ACTION_CHANGED, USER, b"alice", "expiry")),
        ("USER_MGMT", b"change-age", (CHANGE.ACTION_CHANGED, USER, b"alice", "expiry")),
        ("USER_MGMT", b"change-all-aging-info", (CHANGE.ACTION_CHANGED, USER, b"alice", "expiry")),
        ("USER_MGMT", b"changing-name", (CHANGE.ACTION_CHANGED, USER, b"alice")),
        ("GRP_MGMT", b"modify-group", (CHANGE.ACTION_CHANGED, GROUP, b"alice")),
        ("GRP_MGMT", b"changing-gid", (CHANGE.ACTION_CHANGED, GROUP, b"alice", "gid")),
        ("GRP_CHAUTHTOK", b'delete-group-password grp="x"', (CHANGE.ACTION_CHANGED, GROUP, b"x", "password")),
        ("USER_CHAUTHTOK", b"PAM:chauthtok", (CHANGE.ACTION_CHANGED, USER, b"alice", "password")),
        ("USER_CHAUTHTOK", b"changing password", (CHANGE.ACTION_CHANGED, USER, b"alice", "password")),
        ("USER_CHAUTHTOK", b"updating passwd", (CHANGE.ACTION_CHANGED, USER, b"alice", "password")),
        ("ACCT_LOCK", b"locked-password", (CHANGE.ACTION_CHANGED, USER, b"alice", "password")),
        ("ACCT_UNLOCK", b"unlocked-password", (CHANGE.ACTION_CHANGED, USER, b"alice", "password")),
    ],
)  # fmt: skip
def test_an_operation_is_a_change_of_its_account(kind, operation, expected):
    assert told(kind, b"op=" + operation + ALICE) == expected


@pytest.mark.parametrize(
    ("command", "change", "name"),
    [
        (b"/sbin/useradd -d /home/m m", CHANGE(subject=USER), b"m"),
        (b"useradd -D", CHANGE(subject=USER), b""),
        (b"groupadd g", CHANGE(subject=USER), b""),
        (b"groupadd g", CHANGE(subject=GROUP), b"g"),
        (b"usermod -aG adm m", CHANGE(subject=GROUP, fields=["members"]), b"adm"),
        (b"usermod -aG adm,sudo m", CHANGE(subject=GROUP, fields=["members"]), b""),
        (b"sh -c m", CHANGE(subject=USER), b""),
        (b"", CHANGE(subject=USER), b""),
        (b"useradd m", CHANGE(subject=USER, name=b"other"), b"other"),
    ],
)
def test_names_that_a_record_lacks_come_from_the_command_line(command, change, name):
    change = CHANGE.FromString(change.SerializeToString())
    complete(change, command.split())
    assert change.name == name


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("USER_MGMT", b'add-user-to-shadow-group grp="wheel"'),
        ("USER_MGMT", b'add-to-shadow-group grp="wheel"'),
        ("USER_CHAUTHTOK", b"adding user to shadow group"),
        ("GRP_MGMT", b"add-shadow-group"),
        ("ADD_GROUP", b"adding group to /etc/gshadow"),
        ("DEL_USER", b"deleting user from group"),
        ("USER_MGMT", b"add-home-dir"),
        ("USER_MGMT", b"deleting home directory"),
        ("USER_MGMT", b"deleting mail file"),
        ("DEL_USER", b"deleting-user-not-found"),
        ("USER_CHAUTHTOK", b"display aging info"),
        ("USER_CHAUTHTOK", b"unlocking group file"),
        ("USER_MGMT", b"faillock-reset"),
        ("USER_ACCT", b"PAM:accounting"),
        ("USER_MGMT", b""),
    ],
)
def test_what_changes_no_account_or_is_told_by_another_record_is_none(kind, operation):
    assert told(kind, b"op=" + operation + ALICE) is None


@given(st.sampled_from(["USER_MGMT", "USER_ACCT", "ADD_USER"]), st.binary(max_size=60))
def test_any_operation_is_survived(kind, operation):
    told(kind, b"op=" + operation + ALICE)
