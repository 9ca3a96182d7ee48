"""Globs over the bytes of paths: many at once, most paths refused by one look.

`~/x` is x in a home folder. Which folders are homes only the host knows; its agent reports names in
them alone. So any folder counts, but those where anybody may make a tree that looks like homes.
"""

import re
from collections.abc import Iterable

_SIGNS = re.compile(r"(\*\*|\*|\?|\[!?[^\]]+\])")
_HOME = "(?!/(?:tmp|var/tmp|dev|proc|run|sys)/)/.*[^/]"
_ALL_BELOW = "/**"
_MEANINGS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


class Globs:
    """A set of globs: `*` within a folder, `**` across, `?` one character, `[…]` a set.

    `/x/**` is /x, too, and `~/x` is x in any home folder.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        """Compile `globs`."""
        self.globs = tuple(globs)
        self._starts = tuple({_literal_start(glob) for glob in self.globs})
        # All globs of homes share one look for the home: a long path is gone through once.
        homes = "|".join(_pattern(glob[1:]) for glob in self.globs if glob.startswith("~/"))
        others = [_pattern(glob) for glob in self.globs if not glob.startswith("~/")]
        pattern = "|".join(
            [*map("(?:{})".format, others), *([f"{_HOME}(?:{homes})"] if homes else [])]
        )
        self._pattern = re.compile(pattern.encode(), re.DOTALL) if self.globs else None

    def match(self, path: bytes) -> bool:
        """Whether one of them matches the whole of `path`."""
        return (
            self._pattern is not None
            and path.startswith(self._starts)
            and self._pattern.fullmatch(path) is not None
        )


def _literal_start(glob: str) -> bytes:
    if glob.startswith("~/"):
        return b"/"
    if _literal(glob.removesuffix(_ALL_BELOW)):
        glob = glob.removesuffix(_ALL_BELOW)
    return _SIGNS.split(glob, maxsplit=1)[0].encode()


def _literal(glob: str) -> bool:
    return _SIGNS.search(glob) is None


def _pattern(glob: str) -> str:
    if glob.endswith(_ALL_BELOW) and glob != _ALL_BELOW:
        return _pattern(glob.removesuffix(_ALL_BELOW)) + "(?:/.*)?"
    return "".join(
        _MEANINGS.get(part) or (_set(part) if part.startswith("[") and i % 2 else re.escape(part))
        for i, part in enumerate(_SIGNS.split(glob))
    )


def _set(part: str) -> str:
    return f"[^{part[2:]}" if part.startswith("[!") else part
