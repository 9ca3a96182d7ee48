"""Parts of rows that repeat, rendered once: formats in a hurry are made of these."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from google.protobuf.message import Message

from evidence.kinds import moment

Some = TypeVar("Some", bound=Message)

MOST_BYTES = 4 << 20
"""What a cache may hold before it begins anew: a hostile body must not fill the memory."""
MOST_LINES = 1000
"""Lines rendered in one go: others get their turn in between."""
MOST_SECONDS = 4096
_MILLISECONDS = {number: b"%03dZ" % number for number in range(1000)}
_NO_YEAR_BEYOND = 9_000_000_000
"""Seconds from 1970 that clocks can have; beyond, times are cut to what 64 bits hold."""


class Times:
    """Renders timestamps as `rows.moment` does, most of them from what it knows."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._seconds: dict[int, bytes] = {}

    def text(self, timestamp: object) -> bytes:
        """Return a protobuf Timestamp as RFC 3339 in UTC, three fraction digits."""
        seconds: int = timestamp.seconds  # type: ignore[attr-defined]
        nanos: int = timestamp.nanos  # type: ignore[attr-defined]
        fraction = _MILLISECONDS.get(nanos // 1_000_000)
        whole = self._seconds.get(seconds)
        if whole is None or fraction is None:
            return self._learn(timestamp, seconds, usual=fraction is not None)
        return whole + fraction

    def _learn(self, timestamp: object, seconds: int, *, usual: bool) -> bytes:
        text = moment(timestamp).encode()
        if usual and abs(seconds) < _NO_YEAR_BEYOND:
            if len(self._seconds) >= MOST_SECONDS:
                self._seconds.clear()
            self._seconds[seconds] = text[:-4]
        return text


class Shared(Generic[Some]):
    """Renders what messages say beyond what is new with each, once for all that say the same."""

    def __init__(self, new: Sequence[str], render: Callable[[Some], bytes]) -> None:
        """Render with `render` what is left of a message without the fields `new`."""
        self._new, self._render = tuple(new), render
        self._known: dict[bytes, bytes] = {}
        self._size = 0

    def text(self, message: Some) -> bytes:
        """Return the shared part of `message`, of which the rest is cleared."""
        clear = message.ClearField
        for field in self._new:
            clear(field)
        # Serialising is one call; reading twenty fields to compare them is twenty.
        key = message.SerializeToString()
        found = self._known.get(key)
        if found is None:
            found = self._render(message)
            self._size += len(key) + len(found)
            if self._size > MOST_BYTES:
                self._known.clear()
                self._size = len(key) + len(found)
            self._known[key] = found
        return found


NEW_IN_EVENTS = ("event_time", "actor")
NEW_IN_IMAGES = ("exec_id", "parent_exec_id", "pid", "ppid", "start_time", "arguments")
