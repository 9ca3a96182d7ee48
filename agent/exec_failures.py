"""Programs that were requested and not executed, folded: a shell tries each folder of PATH.

A search that comes to a program of that name is no failure, and nothing of it is reported. What
one image requested in vain within a second, under one name and with one error, is one event.
"""

import errno
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.lines import Ran
from agent.stages.fold import Made
from agent.stages.redact import redact
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

MERGE_NS: Final = 1_000_000_000
MOST_NAMES: Final = 64
"""Of one image within a second; what else it requested is counted together."""
MOST_OPEN: Final = 4096
"""Events that are being counted, of all images."""
MOST_ARGUMENT_BYTES: Final = 4096
MOST_PATH_BYTES: Final = 4096
_SEARCH: Final = ("ENOENT", "ENOTDIR")
_OTHERS: Final = b"/"
"""Stands for all names beyond the bound: no name has a slash in it."""


@dataclass(slots=True)
class _Open:
    """One failure and its repeats."""

    ran: Ran
    path: bytes
    error: str
    arguments: tuple[bytes, ...]
    cut: bool
    first_ns: int
    last_ns: int
    count: int = 1


class ExecFailures:
    """Counts failures until a second after the first."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[str, dict[tuple[bytes, str], _Open]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many events are being counted."""
        return self._count

    def add(
        self,
        ran: Ran,
        path: bytes,
        error: str,
        wall_ns: int,
        *,
        arguments: tuple[bytes, ...] = (),
        cut: bool = False,
    ) -> list[Made]:
        """Note that `ran` requested `path` in vain; return what had to be closed for it."""
        of_image = self._open.setdefault(ran.image.exec_id, {})
        key = posixpath.basename(path), error
        known = of_image.get(key)
        if known is None and len(of_image) >= MOST_NAMES:
            key = _OTHERS, error
            known = of_image.get(key)
        if known is not None and wall_ns - known.first_ns < MERGE_NS:
            known.count += 1
            known.last_ns = max(known.last_ns, wall_ns)
            return []
        of_image[key] = _Open(ran, path, error, arguments, cut, wall_ns, wall_ns)
        if known is not None:
            return list(_closed([(key, known)]))
        self._count += 1
        return list(self.ended(next(iter(self._open)))) if self._count > MOST_OPEN else []

    def executed(self, exec_id: str, path: bytes) -> Iterator[Made]:
        """Close what an image requested, as it runs `path` now: what led there is forgotten."""
        of_image = self._open.get(exec_id)
        if of_image is None:
            return
        for error in _SEARCH:
            if of_image.pop((posixpath.basename(path), error), None) is not None:
                self._count -= 1
        yield from self.ended(exec_id)

    def ended(self, exec_id: str) -> Iterator[Made]:
        """Close what an image requested."""
        of_image = self._open.pop(exec_id, {})
        self._count -= len(of_image)
        yield from _closed(of_image.items())

    def due(self, wall_ns: int) -> Iterator[Made]:
        """Close what was first requested a second ago."""
        for exec_id, of_image in list(self._open.items()):
            old = [each for each in of_image.items() if wall_ns - each[1].first_ns >= MERGE_NS]
            for key, _ in old:
                del of_image[key]
            self._count -= len(old)
            if not of_image:
                del self._open[exec_id]
            yield from _closed(old)

    def all(self) -> Iterator[Made]:
        """Close everything."""
        for exec_id in list(self._open):
            yield from self.ended(exec_id)


def error_of(result: bytes) -> str:
    """Return the symbolic name of the errno that a call returned, as "-2"; its digits otherwise."""
    digits = result.removeprefix(b"-")
    if digits.isdigit() and len(digits) < 6:  # noqa: PLR2004  (larger ones are none)
        return errno.errorcode.get(int(digits), digits.decode("ascii"))
    return result[:32].decode("ascii", "backslashreplace")


def _closed(counted: Iterable[tuple[tuple[bytes, str], _Open]]) -> Iterator[Made]:
    for (name, _), found in counted:
        event = events.Event(
            event_time=clock.to_timestamp(found.first_ns), attribution=events.ATTRIBUTION_EXACT
        )
        told = event.exec_failure
        told.requested_path, told.error = found.path[:MOST_PATH_BYTES], found.error
        room = MOST_ARGUMENT_BYTES
        for argument in redact(found.arguments):
            if room <= 0:
                break
            told.arguments.append(argument[:room])
            room -= len(argument) + 1
        told.arguments_cut = found.cut or room < 0
        if found.count > 1:
            event.count = found.count
            event.last_event_time.CopyFrom(clock.to_timestamp(found.last_ns))
        event.cut = name == _OTHERS
        yield Made(found.ran, event, kind="exec_failure")
