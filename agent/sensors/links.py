"""Symbolic links on the way to watched names: where each leads to now.

Whoever may change a link may change what is watched, so few are followed, and none to so wide a
place that everything would be.
"""

import os
from collections.abc import Iterator
from typing import Final

_MOST: Final = 512
_LOOKS: Final = 16
"""Links that are resolved again at a time."""
_PAUSE_NS: Final = 500_000_000


class Links:
    """Links that are followed, by their names."""

    def __init__(self) -> None:
        """Follow none yet."""
        self._ends: dict[bytes, bytes] = {}
        self._looked_ns = 0
        self._next: list[bytes] = []
        self.refused: dict[bytes, str] = {}
        """Links that are not followed, with the reason."""

    def __contains__(self, name: bytes) -> bool:
        """Whether a link of this name is followed."""
        return name in self._ends

    def ends(self) -> dict[bytes, bytes]:
        """Return where links lead to, with the name of the link."""
        return {end: name for name, end in self._ends.items()}

    def follow(self, name: bytes, *, wide: bool) -> bytes | None:
        """Follow a link; return where it leads to, None when it is none or is not followed.

        Args:
            name: Its name.
            wide: Whether everything in the folder it leads to is watched.
        """
        self.drop(name)
        end = _end_of(name)
        if end is None:
            return None
        why = ""
        if len(self._ends) >= _MOST:
            why = f"more than {_MOST} links are not followed"
        elif end == b"/" or (wide and (end.count(b"/") < 2 or name.startswith(end + b"/"))):  # noqa: PLR2004 - /tmp, /var
            why = f"it leads to {os.fsdecode(end)}, which is too wide to be watched"
        if why:
            if len(self.refused) < _MOST:
                self.refused[name] = why
            return None
        self._ends[name] = end
        return end

    def drop(self, name: bytes) -> bytes | None:
        """Follow a link no more; return where it led to."""
        self.refused.pop(name, None)
        return self._ends.pop(name, None)

    def changed(self, now_ns: int) -> Iterator[bytes]:
        """Yield links that lead elsewhere by now, of a few: something on their way changed."""
        if now_ns - self._looked_ns < _PAUSE_NS:
            return
        self._looked_ns = now_ns
        self._next = self._next or list(self._ends)
        looked, self._next = self._next[:_LOOKS], self._next[_LOOKS:]
        for name in looked:
            end = self._ends.get(name)
            if end is not None and _end_of(name) not in (end, None):
                yield name


def _end_of(name: bytes) -> bytes | None:
    """Return where a link leads to, whether anything is there or not; None when it is no link."""
    if not os.path.islink(name):  # noqa: PTH114 - bytes
        return None
    try:
        return os.path.realpath(name)
    except OSError:  # a loop
        return None
