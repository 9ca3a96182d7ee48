"""Which account was added, removed or changed: the account files before and after. Never a hash."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from nightherd.event.v1 import event_pb2 as events

MOST_BYTES = 8 << 20
MOST_CHANGES = 200
_Change = events.AccountChange
_USER_FIELDS = {2: "uid", 3: "gid", 4: "comment", 5: "home", 6: "shell"}
_SHADOW_FIELDS = {1: "password", 7: "expiry"}


class _Files(NamedTuple):
    """Account name -> fields, for each file. Password fields are digests under a random key."""

    passwd: dict[bytes, tuple[bytes, ...]]
    shadow: dict[bytes, tuple[bytes, ...]]
    group: dict[bytes, tuple[bytes, ...]]


class Accounts:
    """The accounts of this host as they were when last looked at."""

    def __init__(self, etc: Path = Path("/etc")) -> None:
        """Look at the files in `etc` now."""
        self._etc = etc
        # Digests are compared within this process only; its own key makes them useless outside.
        self._key = secrets.token_bytes(32)
        self.watched = frozenset(
            str(etc / name).encode() for name in ("passwd", "shadow", "group", "gshadow")
        )
        self._known = self._read()

    def _read(self) -> _Files:
        return _Files(
            self._table("passwd"), self._table("shadow", hidden=1), self._table("group", hidden=1)
        )

    def _table(self, name: str, hidden: int | None = None) -> dict[bytes, tuple[bytes, ...]]:
        try:
            with (self._etc / name).open("rb") as file:
                lines = file.read(MOST_BYTES).splitlines()
        except OSError:
            return {}
        table: dict[bytes, tuple[bytes, ...]] = {}
        for line in lines:
            fields = line.split(b":")
            if len(fields) > 1 and fields[0]:
                if hidden is not None:
                    digest = hashlib.blake2b(fields[hidden], key=self._key, digest_size=16)
                    fields[hidden] = digest.digest()
                table[fields[0]] = tuple(fields)
        return table

    def changes(self) -> list[events.AccountChange]:
        """Return what changed since the last look, users first, at most 200."""
        before, self._known = self._known, self._read()
        found: list[events.AccountChange] = []
        for change in (*_users(before, self._known), *_groups(before.group, self._known.group)):
            found.append(change)
            if len(found) >= MOST_CHANGES:
                break
        return found


def _number(fields: Iterable[bytes]) -> int | None:
    text = (*fields, b"", b"", b"")[2]
    return int(text) if text.isdigit() else None


def _users(before: _Files, after: _Files) -> Iterator[events.AccountChange]:
    for name in (*after.passwd, *(n for n in before.passwd if n not in after.passwd)):
        old, new = before.passwd.get(name), after.passwd.get(name)
        if old is None or new is None:
            action = _Change.ACTION_ADDED if old is None else _Change.ACTION_REMOVED
            yield _Change(
                action=action,
                subject=_Change.SUBJECT_USER,
                name=name,
                number=_number(new or old or ()),
            )
            continue
        fields = _differing(old, new, _USER_FIELDS)
        fields += _differing(before.shadow.get(name), after.shadow.get(name), _SHADOW_FIELDS)
        if fields:
            yield _Change(
                action=_Change.ACTION_CHANGED,
                subject=_Change.SUBJECT_USER,
                name=name,
                number=_number(new),
                fields=fields,
            )


def _differing(
    old: tuple[bytes, ...] | None, new: tuple[bytes, ...] | None, names: dict[int, str]
) -> list[str]:
    if old is None or new is None:
        return [] if old is new else ["password"]
    return [
        name
        for place, name in names.items()
        if (old[place] if len(old) > place else b"") != (new[place] if len(new) > place else b"")
    ]


def _members(fields: tuple[bytes, ...]) -> set[bytes]:
    return set(fields[3].split(b",")) - {b""} if len(fields) > 3 else set()  # noqa: PLR2004


def _groups(
    before: dict[bytes, tuple[bytes, ...]], after: dict[bytes, tuple[bytes, ...]]
) -> Iterator[events.AccountChange]:
    for name in (*after, *(n for n in before if n not in after)):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            action = _Change.ACTION_ADDED if old is None else _Change.ACTION_REMOVED
            yield _Change(
                action=action,
                subject=_Change.SUBJECT_GROUP,
                name=name,
                number=_number(new or old or ()),
            )
            continue
        added, removed = _members(new) - _members(old), _members(old) - _members(new)
        if added or removed or _number(old) != _number(new):
            yield _Change(
                action=_Change.ACTION_CHANGED,
                subject=_Change.SUBJECT_GROUP,
                name=name,
                number=_number(new),
                fields=["members"] if added or removed else ["gid"],
                members_added=sorted(added),
                members_removed=sorted(removed),
            )
