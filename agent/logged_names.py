"""Names of the users of a logged host: as auditd wrote them beside the numbers, or none.

Never from this machine: its users are others.
"""

import re
from typing import Final

_SEPARATOR: Final = b"\x1d"
_NUMBER = re.compile(rb"\b(auid|uid|euid|id)=(\d{1,10})\b")
_NAME = re.compile(rb'\b(AUID|UID|EUID|ID)="([^"]{1,256})"')
MOST: Final = 100_000
MOST_SEEN: Final = 10_000
MOST_SEEN_BYTES: Final = 1024


class LoggedNames:
    """uid -> name, as far as records told."""

    def __init__(self) -> None:
        """Begin knowing nobody."""
        self._names: dict[int, str] = {}
        self._seen: set[bytes] = set()

    def __getitem__(self, uid: int) -> str:
        """Return the name, or "" when no record told it."""
        return self._names.get(uid, "")

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
                if len(self._names) >= MOST:
                    self._names.clear()
                self._names[int(number)] = name.decode("utf-8", "backslashreplace")
