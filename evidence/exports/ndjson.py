"""JSON lines: a row a line, empty fields left out."""

from collections.abc import Iterable, Iterator

import orjson

from chassis.text import show
from evidence.exports.fragments import MOST_LINES, NEW_IN_EVENTS, NEW_IN_IMAGES, Shared, Times
from evidence.kinds import Row, event_fields
from evidence.rows import Batch, actor_of, batch_fields, event_id, image_fields
from nightherd.event.v1 import event_pb2 as events


class Ndjson:
    """Renders rows as JSON lines."""

    name, media_type, suffix = "ndjson", "application/x-ndjson", "ndjson"
    head = b""

    def __init__(self, *, raw: bool = False) -> None:  # noqa: ARG002  (there are no formulas in it)
        """Begin with nothing rendered."""
        self._times = Times()
        self._images: Shared[events.Image] = Shared(
            NEW_IN_IMAGES, lambda image: _inner(image_fields(image))
        )
        self._events: Shared[events.Event] = Shared(NEW_IN_EVENTS, _event)

    def lines(self, batch: Batch, places: Iterable[int]) -> Iterator[bytes]:
        """Yield the events at `places`, a line each; the body is used up."""
        body, images = batch.body, batch.body.images
        time_text, what = self._times.text, self._events.text
        begin = b'{"id":' + orjson.dumps(event_id(batch.batch_id, 0))[:-2]
        whole = _inner(batch_fields(batch))
        nobody = b"," + whole + b"}\n"
        actors: dict[int, bytes] = {-1: nobody}
        pieces: list[bytes] = []
        for place in places:
            event = body.events[place]
            actor = event.actor if event.HasField("actor") else -1
            behind = actors.get(actor)
            if behind is None and actor_of(event, body) < 0:
                behind = nobody
            elif behind is None:
                image = images[actor]
                process = self._process(image)
                behind = b",%b,%b,%b}\n" % (process, self._images.text(image), whole)
                actors[actor] = behind
            when = time_text(event.event_time)
            pieces.append(
                b'%b%d","time":"%b","kind":"%b%b' % (begin, place, when, what(event), behind)
            )
            if len(pieces) == MOST_LINES:
                yield b"".join(pieces)
                pieces.clear()
        yield b"".join(pieces)

    def _process(self, image: events.Image) -> bytes:
        """Render `rows.process_fields`; the time is known already."""
        row: Row = {}
        if arguments := image.arguments[:]:
            row["command"] = show(b" ".join(arguments))
        row["pid"] = image.pid
        row["ppid"] = image.ppid
        if exec_id := image.exec_id:
            row["execID"] = show(exec_id)
        if parent := image.parent_exec_id:
            row["parentExecID"] = show(parent)
        if image.HasField("start_time"):
            row["startTime"] = self._times.text(image.start_time).decode()
        return _inner(row)

    @staticmethod
    def row_id(line: bytes) -> str:
        """Return the id of the event in `line`.

        Raises:
            ValueError: it is no row.
        """
        try:
            return str(orjson.loads(line)["id"])
        except (KeyError, TypeError):
            raise ValueError("it is no row with an id") from None


def _event(event: events.Event) -> bytes:
    kind = event.WhichOneof("kind") or ""
    return b'%b",%b' % (kind.encode(), _inner(event_fields(event, kind)))


def _inner(row: Row) -> bytes:
    return orjson.dumps(row)[1:-1]
