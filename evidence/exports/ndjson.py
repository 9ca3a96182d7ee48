"""JSON lines: a row a line, empty fields left out."""

from collections.abc import Iterable, Iterator, Sequence

import orjson

from chassis.text import show
from evidence.exports.fragments import Times
from evidence.exports.lines import Lines
from evidence.kinds import Row, event_fields
from evidence.rows import Batch, batch_fields, event_id, image_fields
from nightherd.event.v1 import event_pb2 as events


class Ndjson:
    """Renders rows as JSON lines."""

    name, media_type, suffix = "ndjson", "application/x-ndjson", "ndjson"
    head = b""

    def __init__(self, *, raw: bool = False) -> None:  # noqa: ARG002  (there are no formulas in it)
        """Begin with nothing rendered."""
        self._times = Times()
        self._lines = Lines(
            b'","kind":"', _event, self._process, lambda i: _inner(image_fields(i)), _behind
        )

    def lines(self, batch: Batch, places: Iterable[int]) -> Iterator[bytes]:
        """Yield the events at `places`, a line each; the body is used up."""
        begin = b'{"id":' + orjson.dumps(event_id(batch.batch_id, 0))[:-2]
        last = b"," + _inner(batch_fields(batch)) + b"}\n"
        return self._lines.of(batch, places, (begin, b'","time":"'), last, b"")

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
    def count(body: events.EventBatch, places: Sequence[int]) -> int:  # noqa: ARG004
        """Return how many lines `lines` makes of the events at `places`: one of each."""
        return len(places)

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


def _behind(row: Row) -> bytes:
    return b"," + _inner(row) if row else b""


def _inner(row: Row) -> bytes:
    return orjson.dumps(row)[1:-1]
