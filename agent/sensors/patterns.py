"""Patterns of watched names as regular expressions; watchlist.yaml explains how they are written.

Pure, and linear on hostile names: no expression has a repetition inside a repetition.
"""

import re
from collections.abc import Iterable, Iterator

_SIGNS = {b"*": b"[^/]*", b"?": b"[^/]"}
_BELOW = b"(?:/.+)?"


def _component(pattern: bytes) -> bytes:
    if pattern == b"*":
        return b"[^/]+"
    return b"".join(_SIGNS.get(c, re.escape(c)) for c in (bytes([n]) for n in pattern))


def _split(path: bytes) -> tuple[bytes, list[bytes], bool]:
    """`~` or nothing, the components before `**`, and whether all below counts."""
    start, rest = (b"~", path[1:]) if path.startswith(b"~") else (b"", path)
    below = rest.endswith(b"/**")
    return start, [part for part in rest.removesuffix(b"/**").split(b"/") if part], below


def _plain(start: bytes, parts: Iterable[bytes]) -> bytes:
    return start + b"".join(b"/" + _component(part) for part in parts)


def expression(path: bytes) -> bytes:
    """The regular expression of a pattern; `/x/**` is `/x` itself and everything below it."""
    if b"/**/" in path:
        top, _, rest = path.partition(b"/**/")
        return expression(top) + _BELOW + expression(b"/" + rest)
    start, parts, below = _split(path)
    return _plain(start, parts) + (_BELOW if below else b"")


def leading(path: bytes) -> Iterator[bytes]:
    """Yield expressions of the folders in which something must be watched for `path` to be seen."""
    top = path.partition(b"/**/")[0]
    start, parts, below = _split(top)
    below = below or top != path
    if start:
        yield start
    for length in range(1, len(parts)):
        yield _plain(start, parts[:length])
    if below:
        yield _plain(start, parts) + _BELOW


def holding(path: bytes) -> bytes:
    """The expression of the folders in which names of a pattern lie."""
    top = path.partition(b"/**/")[0]
    if top != path or path.endswith(b"/**"):
        return expression(top.removesuffix(b"/**")) + _BELOW
    start, parts, _ = _split(path)
    return _plain(start, parts[:-1])


def tree(path: bytes) -> bytes | None:
    """The expression of the folders below which everything is looked at; None when none is."""
    top = path.partition(b"/**/")[0]
    if top == path and not path.endswith(b"/**"):
        return None
    return expression(top.removesuffix(b"/**")) + _BELOW


def any_of(expressions: Iterable[bytes]) -> re.Pattern[bytes]:
    """One pattern for all of them; of nothing, one that never matches."""
    unique = dict.fromkeys(expressions)
    return re.compile(b"|".join(b"(?:" + each + b")" for each in unique) or rb"(?!)", re.DOTALL)


def numbered(groups: Iterable[Iterable[bytes]]) -> re.Pattern[bytes]:
    """One pattern whose group number says which of the groups matched first."""
    joined = b"|".join(b"(" + (b"|".join(each) or rb"(?!)") + b")" for each in groups)
    return re.compile(joined or rb"(?!)", re.DOTALL)
