"""Where a page ends, and which entries are on it: pages neither skip nor repeat."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from chassis.errors import InvalidArgumentError

_TEXT = re.compile(r"(-?[0-9]{1,19})\.([0-9]{1,10})\.([0-9A-Za-z:./_~-]{0,400})")
LAST_KEY = "~"
"""Sorts behind every key."""


class CursorInvalidError(InvalidArgumentError):
    """A cursor that no answer gave out."""

    reason = "CURSOR_INVALID"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where an entry stands in the order of all entries: time, then what makes it unique."""

    time_ns: int
    key: str
    place: int = 0

    def text(self) -> str:
        """Return it as a cursor."""
        plain = f"{self.time_ns}.{self.place}.{self.key}"
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def position_of(cursor: str) -> Position | None:
    """Return the position that `cursor` stands for; None for "", the beginning.

    Raises:
        CursorInvalidError: it is none.
    """
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        plain = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        plain = ""
    match = _TEXT.fullmatch(plain)
    if match is None or abs(int(match[1])) >= 1 << 63 or int(match[2]) >= 1 << 31:
        raise CursorInvalidError("the cursor is not one that an answer gave out")
    return Position(int(match[1]), match[3], int(match[2]))


class Placed(Protocol):
    """Anything that has a position."""

    @property
    def position(self) -> Position:
        """Where it stands."""
        ...


Entry = TypeVar("Entry", bound=Placed)


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """The entries of one page, in order."""

    entries: list[Entry]
    next: Position | None
    """Go on behind this; None: there is no more now."""
    cut_short: bool = False


@dataclass(slots=True)
class Collector(Generic[Entry]):
    """Keeps the first `limit` entries behind a position, whatever order they come in."""

    limit: int
    ascending: bool
    after: Position | None = None
    kept: list[Entry] = field(default_factory=list)
    more: bool = False
    """There was an entry that found no room."""

    def add(self, entries: Iterable[Entry]) -> None:
        """Take those that are behind the position and among the first."""
        fresh = [each for each in entries if self.behind(each.position)]
        if not fresh:
            return
        self.kept += fresh
        self.kept.sort(key=_position, reverse=not self.ascending)
        if len(self.kept) > self.limit:
            self.more = True
            del self.kept[self.limit :]

    def behind(self, position: Position) -> bool:
        """Whether `position` comes on this page or a later one, and there is room for it."""
        if self.after is not None:
            past = position > self.after if self.ascending else position < self.after
            if not past:
                return False
        if len(self.kept) < self.limit:
            return True
        last = self.kept[-1].position
        before = position < last if self.ascending else position > last
        self.more = self.more or not before
        return before

    def settled(self, bound_ns: int) -> bool:
        """Whether nothing that comes at or behind `bound_ns` finds room."""
        if len(self.kept) < self.limit:
            return False
        last = self.kept[-1].position.time_ns
        return last < bound_ns if self.ascending else last > bound_ns

    def page(self) -> Page[Entry]:
        """Return the page: everything was seen, or what was not comes later."""
        last = self.kept[-1].position if self.kept and self.more else None
        return Page(self.kept, last)

    def cut_at(self, bound_ns: int) -> Page[Entry]:
        """Return the page as far as it is sure, when nothing at or behind `bound_ns` was seen."""
        sure = [
            each
            for each in self.kept
            if (
                each.position.time_ns < bound_ns
                if self.ascending
                else each.position.time_ns > bound_ns
            )
        ]
        if len(sure) == self.limit:
            return Page(sure, sure[-1].position)
        edge = Position(bound_ns, "" if self.ascending else LAST_KEY)
        return Page(sure, edge, cut_short=True)


def _position(entry: Any) -> Position:
    position: Position = entry.position
    return position
