"""Programs that were requested and not executed, folded: a shell tries each folder of PATH.

A search that comes to a program of that name is no failure, and nothing of it is reported. What
one process requested in vain within a second, under one name and with one error, is one failure.
"""

import errno
import posixpath
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MERGE_NS: Final = 1_000_000_000
MOST_NAMES: Final = 64
"""Of one process within a second; what else it requested is counted together."""
MOST_OPEN: Final = 4096
"""Failures that are being counted, of all processes."""
_SEARCH: Final = ("ENOENT", "ENOTDIR")
_OTHERS: Final = b"/"
"""Stands for all names beyond the bound: no name has a slash in it."""
_MOST_DIGITS: Final = 5
_Key = tuple[bytes, str]
Who = TypeVar("Who")


@dataclass(slots=True)
class Failure(Generic[Who]):
    """One failure and its repeats."""

    who: Who
    """Whoever requested it, as the one who counts knows them."""
    path: bytes
    error: str
    first_ns: int
    last_ns: int
    arguments: tuple[bytes, ...] = ()
    arguments_cut: bool = False
    count: int = 1
    several: bool = False
    """Whether its repeats requested other paths."""


class ExecFailures(Generic[Who]):
    """Counts failures until a second after the first. Whoever requested is known by a key."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[Hashable, dict[_Key, Failure[Who]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many are being counted."""
        return self._count

    def add(self, key: Hashable, failure: Failure[Who]) -> list[Failure[Who]]:
        """Count a failure; return what had to be closed for it."""
        own = self._open.setdefault(key, {})
        name = posixpath.basename(failure.path), failure.error
        known = own.get(name)
        if known is None and len(own) >= MOST_NAMES:
            name = _OTHERS, failure.error
            failure.several = True
            known = own.get(name)
        if known is not None and failure.first_ns - known.first_ns < MERGE_NS:
            known.count += 1
            known.last_ns = max(known.last_ns, failure.first_ns)
            return []
        own[name] = failure
        if known is not None:
            return [known]
        self._count += 1
        return self.ended(next(iter(self._open))) if self._count > MOST_OPEN else []

    def executed(self, key: Hashable, path: bytes) -> None:
        """Forget what led somebody to `path`, who runs it now."""
        own = self._open.get(key)
        if own is None:
            return
        for error in _SEARCH:
            if own.pop((posixpath.basename(path), error), None) is not None:
                self._count -= 1
        if not own:
            del self._open[key]

    def ended(self, key: Hashable) -> list[Failure[Who]]:
        """Close what somebody requested."""
        own = self._open.pop(key, {})
        self._count -= len(own)
        return list(own.values())

    def due(self, now_ns: int) -> list[Failure[Who]]:
        """Close what was first requested a second ago."""
        due: list[Failure[Who]] = []
        for key, own in list(self._open.items()):
            old = [name for name, each in own.items() if now_ns - each.first_ns >= MERGE_NS]
            due += [own.pop(name) for name in old]
            self._count -= len(old)
            if not own:
                del self._open[key]
        return due

    def all(self) -> list[Failure[Who]]:
        """Close everything."""
        return _joined(self.ended(key) for key in list(self._open))


def error_of(result: bytes) -> str:
    """Return the symbolic name of the errno that a call returned, as "-2"; its digits otherwise."""
    digits = result.removeprefix(b"-")
    if digits.isdigit() and len(digits) <= _MOST_DIGITS:
        return errno.errorcode.get(int(digits), digits.decode("ascii"))
    return result[:32].decode("ascii", "backslashreplace")


def _joined(lists: Iterable[list[Failure[Who]]]) -> list[Failure[Who]]:
    return [failure for each in lists for failure in each]
