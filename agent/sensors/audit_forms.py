"""Forms that records of a type have: names and quotes in one order, so that one expression reads
the values of all.

They are learned from what comes: each program that writes to the audit system words its records in
one way. What has no such form, or a new one, is read name by name (`audit_fields`).
"""  # noqa: D205  (one sentence would not do)

import re
from collections.abc import Callable, Container
from typing import Final, NamedTuple

_FIELD = re.compile(
    rb"""(?<![\w-])(?!msg=')([A-Za-z_][\w-]*)=(?:("[^"'\x1d]*")|([^\s"'\x1d?(][^\s"'\x1d]*)|\?|\(null\)|\(none\)|)"""
)
_QUOTED, _PLAIN = rb"""="([^"'\x1d]*)\"""", rb"""=([^\s"'\x1d?(][^\s"'\x1d]*)"""
_MOST_ALIKE: Final = 8
_MOST: Final = 256
_MOST_COUNTED: Final = 4096
_LEARN_EVERY: Final = 16
"""Records of a type that no form fits: then the next is learned, as it may be frequent."""


class Form(NamedTuple):
    """One way in which records of a type are worded."""

    match: Callable[[bytes], "re.Match[bytes] | None"]
    names: tuple[str, ...]
    """Of fields that have a value, in their order."""
    encoded: tuple[str, ...]
    """Of those, they may be hexadecimal."""
    empty: dict[str, bytes]
    """Fields that say that they say nothing."""


class Forms:
    """The forms that were learned."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[tuple[str, int], list[Form]] = {}
        self._missed: dict[tuple[str, int], int] = {}
        self._count = 0

    def of(self, kind: str, text: bytes) -> list[Form]:
        """Return those that a text of a type may have: it has as many fields as they."""
        return self._known.get((kind, text.count(b"=")), [])

    def missed(self, kind: str, text: bytes, untrusted: Container[str]) -> None:
        """Note that no form fitted `text`; it may become one."""
        key = kind, text.count(b"=")
        known = self._known.get(key, [])
        if self._count >= _MOST or len(known) >= _MOST_ALIKE or len(self._missed) >= _MOST_COUNTED:
            return
        self._missed[key] = missed = self._missed.get(key, 0) + 1
        if missed % _LEARN_EVERY == 0 and (form := form_of(text, untrusted)) is not None:
            self._known[key] = [*known, form]
            self._count += 1


def form_of(text: bytes, untrusted: Container[str]) -> Form | None:
    """Return the form of a text; None when it has none that is safe to go by.

    Args:
        text: of a record.
        untrusted: names of fields that are hexadecimal where they are not in quotes.
    """
    pattern, names, encoded, empty, at, wrapped = b"", [], [], {}, 0, b""
    for field in _FIELD.finditer(text):
        between = text[at : field.start()]
        name = field[1].decode("ascii")
        if between == wrapped + b"\x1d" and at:
            wrapped = b""
        elif between == b" msg='" and b"msg='" not in pattern:
            wrapped = b"'"
        elif between != (b" " if at else b""):
            return None
        if name in names or name in empty:
            return None
        value = re.escape(field[0][len(name) :])
        if field[2] or field[3]:
            names.append(name)
            value = _QUOTED if field[2] else _PLAIN
            if field[3] and name in untrusted:
                encoded.append(name)
        else:
            empty[name] = b""
        pattern += re.escape(between) + field[1] + value
        at = field.end()
    if text[at:] not in (b"", wrapped) or not names:
        return None
    return Form(re.compile(pattern + text[at:]).fullmatch, tuple(names), tuple(encoded), empty)
