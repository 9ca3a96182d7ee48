"""Lines made of parts that repeat: what formats in a hurry have in common.

A line is the event's id, its time, what the event says, what is new with each process, what many
images share, what stands above the image and what the whole batch shares, in this order, the last
five separated by commas.
"""

from collections.abc import Callable, Iterable, Iterator

from evidence.exports.fragments import Above, Shared, Times
from evidence.kinds import Row
from evidence.rows import Batch, actor_of
from nightherd.event.v1 import event_pb2 as events

MOST_LINES = 1000
"""Lines rendered in one go: others get their turn in between."""
MOST_PIECE_BYTES = 1 << 20
"""A piece ends behind the line that reaches it: what lines share is small in a body only."""


class Lines:
    """Puts lines together."""

    def __init__(
        self,
        behind_time: bytes,
        event: Callable[[events.Event], bytes],
        process: Callable[[events.Image], bytes],
        image: Callable[[events.Image], bytes],
        above: Callable[[Row], bytes],
    ) -> None:
        """Render with these; `behind_time` stands between the time and the event.

        What `above` renders begins with a comma, or is nothing.
        """
        self._times, self._process, self._above = Times(behind_time), process, above
        self._events = Shared(events.Event, event)
        self._images = Shared(events.Image, image)

    def of(
        self,
        batch: Batch,
        places: Iterable[int],
        around: tuple[bytes, bytes],
        last: bytes,
        nobody: bytes,
    ) -> Iterator[bytes]:
        """Yield the events at `places`, a line each, in pieces of many; the body is used up.

        No piece is empty: where pieces end is said by who hands them on, not by one of them.

        Args:
            batch: whose events.
            places: which.
            around: what stands before and behind the place, at the end of the id.
            last: what the whole batch shares, with the comma before it and the line's end.
            nobody: what stands in place of process and image where nobody is known, likewise.
        """
        body = batch.body
        stored, (begin, end) = body.events, around
        seconds, milliseconds, said = self._times.seconds, self._times.milliseconds, self._events
        above = Above(body, self._above)
        actors: dict[int, tuple[bytes, int]] = {-1: (nobody, 0)}
        pieces: list[bytes] = []
        size = 0
        # This runs for every event of an export: calls of our own would be a fifth of it.
        for number, place in enumerate(places, start=1):
            event = stored[place]
            # 0 is also what an event says that names no actor.
            actor = event.actor
            if not actor and not event.HasField("actor"):
                actor = -1
            behind = actors.get(actor)
            if behind is None:
                known = actor_of(event, body) >= 0
                behind = self._actor(body.images[actor]) if known else (nobody, 0)
                actors[actor] = behind
            time = event.event_time
            try:
                second, rest = seconds[time.seconds], milliseconds[time.nanos // 1_000_000]
            except KeyError:
                second, rest = self._times.odd(time)
            event.ClearField("event_time")
            event.ClearField("actor")
            what = said[event.SerializeToString()]
            who, line = behind
            higher = above[line]
            pieces += (begin, b"%d" % place, end, second, rest, what, who, higher, last)
            size += len(what) + len(who) + len(higher)
            if size >= MOST_PIECE_BYTES or not number % MOST_LINES:
                yield b"".join(pieces)
                pieces.clear()
                size = 0
        if pieces:
            yield b"".join(pieces)

    def _actor(self, image: events.Image) -> tuple[bytes, int]:
        process, line = self._process(image), image.ancestor
        image.ClearField("exec_id")
        image.ClearField("parent_exec_id")
        image.ClearField("pid")
        image.ClearField("ppid")
        image.ClearField("start_time")
        image.ClearField("arguments")
        image.ClearField("ancestor")
        return b",%b,%b" % (process, self._images[image.SerializeToString()]), line
