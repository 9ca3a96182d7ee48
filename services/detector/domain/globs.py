"""Globs over the bytes of paths: many at once, most paths refused by one look."""

import re
from collections.abc import Iterable

_SIGNS = re.compile(r"(\*\*|\*|\?|\[!?[^\]]+\])")
_MEANINGS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


class Globs:
    """A set of globs: `*` within a folder, `**` across, `?` one character, `[…]` a set."""

    def __init__(self, globs: Iterable[str]) -> None:
        """Compile `globs`."""
        self.globs = tuple(globs)
        self._starts = tuple({_literal_start(glob) for glob in self.globs})
        pattern = "|".join(f"(?:{_pattern(glob)})" for glob in self.globs)
        self._pattern = re.compile(pattern.encode(), re.DOTALL) if self.globs else None

    def match(self, path: bytes) -> bool:
        """Whether one of them matches the whole of `path`."""
        return (
            self._pattern is not None
            and path.startswith(self._starts)
            and self._pattern.fullmatch(path) is not None
        )


def _literal_start(glob: str) -> bytes:
    return _SIGNS.split(glob, maxsplit=1)[0].encode()


def _pattern(glob: str) -> str:
    return "".join(
        _MEANINGS.get(part) or (_set(part) if part.startswith("[") and i % 2 else re.escape(part))
        for i, part in enumerate(_SIGNS.split(glob))
    )


def _set(part: str) -> str:
    return f"[^{part[2:]}" if part.startswith("[!") else part
