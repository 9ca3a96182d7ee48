"""Parts of rows that repeat, rendered once: formats in a hurry are made of these.

They are mappings that fill themselves: one look-up is what each event costs.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from evidence.kinds import Row, moment
from evidence.lineage import Lineage
from evidence.rows import above_fields
from nightherd.event.v1 import event_pb2 as events

Some = TypeVar("Some", bound=Message)

MOST_BYTES = 4 << 20
"""What a cache may hold before it begins anew: a hostile body must not fill the memory."""
MOST_SECONDS = 4096
_NO_YEAR_BEYOND = 9_000_000_000
"""Seconds from 1970 that clocks can have; beyond, times are cut to what 64 bits hold."""


class Seconds(dict[int, bytes]):
    """Seconds since 1970 -> `rows.moment` up to the point; KeyError for what no clock says."""

    def __missing__(self, seconds: int) -> bytes:
        """Render a second."""
        if abs(seconds) >= _NO_YEAR_BEYOND:
            raise KeyError(seconds)
        if len(self) >= MOST_SECONDS:
            self.clear()
        text = self[seconds] = moment(Timestamp(seconds=seconds)).encode()[:-4]
        return text


class Times:
    """Renders timestamps as `rows.moment` does, most of them from what it knows."""

    def __init__(self, behind: bytes = b"") -> None:
        """Know nothing yet; `behind` is put behind each."""
        self._behind = behind
        self.seconds = Seconds()
        self.milliseconds = {number: b"%03dZ%b" % (number, behind) for number in range(1000)}
        """KeyError for what is less or more than a second."""

    def odd(self, timestamp: Timestamp) -> tuple[bytes, bytes]:
        """Return a timestamp that the two do not know, in two parts like theirs."""
        return moment(timestamp).encode(), self._behind

    def text(self, timestamp: Timestamp) -> bytes:
        """Return a timestamp as RFC 3339 in UTC, three fraction digits."""
        try:
            return self.seconds[timestamp.seconds] + self.milliseconds[timestamp.nanos // 1_000_000]
        except KeyError:
            return b"".join(self.odd(timestamp))


class Shared(dict[bytes, bytes], Generic[Some]):
    """What a message says beyond what is new with each, serialised -> the same, rendered.

    Serialising is one call; reading twenty fields to compare them is twenty.
    """

    def __init__(self, made: type[Some], render: Callable[[Some], bytes]) -> None:
        """Render messages of the type `made` with `render`."""
        super().__init__()
        self._made, self._render = made, render
        self._size = 0

    def __missing__(self, key: bytes) -> bytes:
        """Render what was not rendered before."""
        found = self._render(self._made.FromString(key))
        self._size += len(key) + len(found)
        if self._size > MOST_BYTES:
            self.clear()
            self._size = len(key) + len(found)
        self[key] = found
        return found


class Above(dict[int, bytes]):
    """`Image.ancestor` of the images of one body -> what stands above them, rendered."""

    def __init__(self, body: events.EventBatch, render: Callable[[Row], bytes]) -> None:
        """Render `rows.above_fields` with `render`."""
        super().__init__()
        self._lineage, self._render = Lineage(body), render
        self._size = 0

    def __missing__(self, place: int) -> bytes:
        """Render what was not rendered before."""
        found = self._render(above_fields(self._lineage, place))
        self._size += len(found)
        if self._size > MOST_BYTES:
            self.clear()
            self._size = len(found)
        self[place] = found
        return found
