"""Names of the users of a logged host: as auditd wrote them beside numbers, or as who logged in.

Never from this machine: its users are others. Uid 0 is root on every host.
"""

import re
from collections.abc import Mapping
from typing import Final

from agent.sensors.records import UNSET_ID

_SEPARATOR: Final = b"\x1d"
_NUMBER = re.compile(rb"\b(auid|uid|euid|id)=(\d{1,10})\b")
_NAME = re.compile(rb'\b(AUID|UID|EUID|ID)="([^"]{1,256})"')
ROOT: Final = "root"
MOST: Final = 100_000
MOST_SEEN: Final = 10_000
MOST_SEEN_BYTES: Final = 1024
MOST_NAME_BYTES: Final = 256
_MOST_DIGITS: Final = 10


class LoggedNames:
    """uid -> name, as far as records told."""

    def __init__(self) -> None:
        """Begin knowing nobody."""
        self._names: dict[int, str] = {}
        self._seen: set[bytes] = set()

    def __getitem__(self, uid: int) -> str:
        """Return the name, or "" when no record told it."""
        return self._names.get(uid, "" if uid else ROOT)

    def logged_in(self, fields: Mapping[str, bytes]) -> None:
        """Learn from a record of a login who it was: its login uid and account are one's."""
        number, name = fields.get("auid", b""), fields.get("acct", b"")
        if name and number.isdigit() and len(number) <= _MOST_DIGITS and int(number) != UNSET_ID:
            self._learn(number, name)

    def _learn(self, number: bytes, name: bytes) -> None:
        if len(self._names) >= MOST:
            self._names.clear()
        self._names[int(number)] = name[:MOST_NAME_BYTES].decode("utf-8", "backslashreplace")

    def learn(self, text: bytes) -> None:
        """Learn from a record's text, when auditd added names to it."""
        at = text.find(_SEPARATOR)
        if at < 0:
            return
        of_whom = text[max(text.find(b" auid="), 0) :]
        if of_whom in self._seen:
            return
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        if len(of_whom) <= MOST_SEEN_BYTES:
            self._seen.add(of_whom)
        names = text[at:]
        said = dict(_NAME.findall(names))
        for word, number in _NUMBER.findall(text[:at]):
            name = said.get(word.upper(), b"")
            if name and name != b"unset" and not name.startswith(b"unknown("):
                self._learn(number, name)
