"""What programs that manage accounts say of it: `op=add-user-to-group grp="wheel" acct="alice"`.

Each operation is named in words that differ by tool and by age: shadow-utils wrote `adding user to
group` until 2023 and still does on Debian, Red Hat's and later ones `add-user-to-group`. Hyphens
and spaces are one here. The type of the record says less than the operation: useradd writes what it
does to groups as USER_MGMT, ADD_USER or USER_CHAUTHTOK.

References: https://github.com/linux-audit/audit-documentation/wiki/SPEC-User-Account-Lifecycle-Events
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from agent.sensors.records import UNSET_ID
from nightherd.event.v1 import event_pb2 as events

_Change = events.AccountChange
_USER, _GROUP = _Change.SUBJECT_USER, _Change.SUBJECT_GROUP
_MOST_DIGITS: Final = 12
_MOST_OPERATION_BYTES: Final = 1024


class _Meaning(NamedTuple):
    """What an operation does."""

    action: "_Change.Action.ValueType"
    subject: "_Change.Subject.ValueType"
    field: str = ""
    """Of the account, for changes."""
    leaves: bool = False
    """For members: whether one goes."""


_JOINS: Final = _Meaning(_Change.ACTION_CHANGED, _GROUP, "members")
_LEAVES: Final = _JOINS._replace(leaves=True)
_OPERATIONS: Final[Mapping[bytes, _Meaning]] = {
    **dict.fromkeys((b"add user", b"adding user"), _Meaning(_Change.ACTION_ADDED, _USER)),
    **dict.fromkeys(
        (b"delete user", b"deleting user", b"deleting user entries"),
        _Meaning(_Change.ACTION_REMOVED, _USER),
    ),
    **dict.fromkeys(
        (b"add group", b"adding group", b"adding group to /etc/group"),
        _Meaning(_Change.ACTION_ADDED, _GROUP),
    ),
    **dict.fromkeys(
        (b"delete group", b"deleting group", b"removing group", b"removing group from /etc/group"),
        _Meaning(_Change.ACTION_REMOVED, _GROUP),
    ),
    **dict.fromkeys(
        (b"add user to group", b"adding user to group", b"adding to group", b"add to group"), _JOINS
    ),
    **dict.fromkeys(
        (
            b"delete user from group",
            b"deleting user from group",
            b"removing user from group",
            b"remove user from group",
            b"removing group member",
            b"deleting member",
        ),
        _LEAVES,
    ),
}
_UNTOLD: Final = (b"shadow group", b"gshadow", b"home dir", b"mail", b"not found", b"logged in")
"""The group itself is told of by another record; of homes and mail the changes of files tell; the
others are failures that say success."""
_UNTOLD_FIRST: Final = frozenset(b"display list check unlocking faillock".split())
"""unlocking: of a file. A password is `unlocked`, or its `unlock` is named."""
_FIELDS: Final = (
    ("password", frozenset(b"chauthtok pam:chauthtok password passwd passwords".split())),
    ("expiry", frozenset(b"age aging expiration expire expired expiry inactive warning".split())),
    ("expiry", frozenset((b"last",))),
    ("shell", frozenset((b"shell",))),
    ("home", frozenset((b"home",))),
    ("comment", frozenset(b"comment gecos finger".split())),
    ("uid", frozenset((b"uid",))),
    ("gid", frozenset((b"gid",))),
)
"""Field of an account -> words of an operation that changes it; the first that is there counts."""
_PRIMARY: Final = b"primary group"
_MODIFIES: Final = frozenset(b"modify modifying modified change changing changed rename".split())
_TOOLS: Final[Mapping[int, frozenset[bytes]]] = {
    _USER: frozenset(b"useradd userdel usermod passwd chage chsh chfn".split()),
    _GROUP: frozenset(b"groupadd groupdel groupmod gpasswd".split()),
}
"""Tools that take the account they are for as their last argument."""
_BY_GPASSWD = re.compile(
    rb"user (\S{1,256}) (added|removed) by \S{1,256} (?:to|from) group (\S{1,256})"
)
"""What gpasswd wrote until 2023, as USER_ACCT."""


def account_change_of(kind: str, fields: Mapping[str, bytes]) -> events.AccountChange | None:
    """Return the change that a record about accounts tells; None when it is none.

    Args:
        kind: type of the record.
        fields: of it.
    """
    said = fields.get("op", b"")
    if kind == "USER_ACCT" and b" group " not in said:
        return None  # of a login, as nearly all are
    operation = b" ".join(said.replace(b"-", b" ").lower().split())[:_MOST_OPERATION_BYTES]
    if kind == "USER_ACCT":
        found = _BY_GPASSWD.match(operation)
        return (
            _member(found[3], found[1], leaves=found[2] == b"removed")
            if found is not None and b"gshadow" not in operation
            else None
        )
    meaning = _meaning(kind, operation)
    if meaning is None:
        return None
    group = fields.get("grp", b"") or fields.get("new_group", b"")
    if meaning.field == "members":
        if not group and kind == "DEL_USER":
            return None  # of every group, which the removal of the user says
        account = _name(fields.get("acct", b"") or fields.get("ID", b""))
        return _member(group, account, leaves=meaning.leaves) if group or account else None
    change = _Change(action=meaning.action, subject=meaning.subject)
    name = fields.get("acct", b"")
    if meaning.subject == _GROUP:
        name = group or name
    change.name = _name(name or group or fields.get("ID", b""))
    if meaning.field:
        change.fields.append(meaning.field)
    number = number_of(fields.get("id", b""))
    if number is not None and number != UNSET_ID:
        change.number = number
    return change


@lru_cache(maxsize=256)
def _meaning(kind: str, operation: bytes) -> _Meaning | None:
    known = _OPERATIONS.get(operation)
    words = operation.split()
    if known is not None or not words:
        return known
    if words[0] in _UNTOLD_FIRST or any(each in operation for each in _UNTOLD[:2]):
        return None
    if any(each in operation for each in _UNTOLD[2:]) and not _MODIFIES & set(words[:1]):
        return None
    subject = _GROUP if b"group" in words and _PRIMARY not in operation else _USER
    if kind.startswith("GRP_"):
        subject = _GROUP
    if _PRIMARY in operation:
        return _Meaning(_Change.ACTION_CHANGED, _USER, "gid")
    for field, said in _FIELDS:
        if said.intersection(words):
            return _Meaning(_Change.ACTION_CHANGED, subject, field)
    return _Meaning(_Change.ACTION_CHANGED, subject) if words[0] in _MODIFIES else None


def complete(change: events.AccountChange, arguments: Sequence[bytes]) -> None:
    """Take names that a record lacks from the command line of the tool that wrote it.

    shadow-utils before 2024 writes a number for a user that is not in passwd yet, and no group.
    """
    tool = posixpath.basename(arguments[0]) if arguments else b""
    last = arguments[-1] if len(arguments) > 1 and not arguments[-1].startswith(b"-") else b""
    if change.name or not last:
        return
    if "members" in change.fields:
        groups = _groups_in(arguments) if tool in (b"useradd", b"usermod") else []
        change.name = groups[0] if len(groups) == 1 else b""
    elif tool in _TOOLS[change.subject]:
        change.name = last


def _groups_in(arguments: Sequence[bytes]) -> list[bytes]:
    for option, value in pairwise(arguments):
        if option in (b"-G", b"-aG", b"--groups"):
            return value.split(b",")
    return []


def _member(group: bytes, account: bytes, *, leaves: bool) -> events.AccountChange:
    change = _Change(
        action=_Change.ACTION_CHANGED, subject=_GROUP, name=_name(group), fields=["members"]
    )
    (change.members_removed if leaves else change.members_added).append(account)
    return change


def _name(raw: bytes) -> bytes:
    return b"" if raw.startswith(b"unknown(") else raw


def number_of(raw: bytes) -> int | None:
    """Return a number that a record may have; None when it has none that is sensible."""
    return int(raw) if raw.isdigit() and len(raw) <= _MOST_DIGITS else None
