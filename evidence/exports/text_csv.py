r"""CSV: a header line, a row a line. Lists are joined by "; ", objects are JSON.

A cell that a spreadsheet would take for a formula gets a quote in front, unless `raw`. No cell has
a line break, for `show` leaves no control character.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from chassis.text import csv_cell, show
from evidence.exports.fragments import Times
from evidence.exports.lines import Lines
from evidence.kinds import Row, event_fields
from evidence.rows import (
    ABOVE_FIELDS,
    BATCH_FIELDS,
    EVENT,
    EVENT_FIELDS,
    IMAGE_FIELDS,
    PROCESS_FIELDS,
    Batch,
    batch_fields,
    event_id,
    image_fields,
)
from nightherd.event.v1 import event_pb2 as events

COLUMNS = tuple(name for name, _, _ in EVENT)
_BEYOND_KIND = tuple(name for name, _, _ in EVENT_FIELDS[3:])
_PLACES = {name: place for place, name in enumerate(_BEYOND_KIND, start=1)}
_NONE = [""] * len(_PLACES)
_IMAGE = tuple(name for name, _, _ in IMAGE_FIELDS)
_ABOVE = tuple(name for name, _, _ in ABOVE_FIELDS)
_BATCH = tuple(name for name, _, _ in BATCH_FIELDS)


class Csv:
    """Renders rows as CSV."""

    name, media_type, suffix = "csv", "text/csv", "csv"
    head = ",".join(COLUMNS).encode() + b"\r\n"

    def __init__(self, *, raw: bool = False) -> None:
        """Begin with nothing rendered; `raw`: leave formulas as they are."""
        self._text = quoted if raw else _guarded
        self._times = Times()
        self._lines = Lines(
            b",",
            self._event,
            self._process,
            lambda image: self._cells(image_fields(image), _IMAGE),
            lambda row: b"," + self._cells(row, _ABOVE),
        )

    def lines(self, batch: Batch, places: Iterable[int]) -> Iterator[bytes]:
        """Yield the events at `places`, a line each; the body is used up."""
        begin = self._text(event_id(batch.batch_id, 0)).encode()
        begin = begin[:-2] if begin.endswith(b'"') else begin[:-1]
        end = b'",' if begin.startswith(b'"') else b","
        last = b"," + self._cells(batch_fields(batch), _BATCH) + b"\r\n"
        nobody = b"," * (len(PROCESS_FIELDS) + len(_IMAGE))
        return self._lines.of(batch, places, (begin, end), last, nobody)

    def _event(self, event: events.Event) -> bytes:
        kind = event.WhichOneof("kind") or ""
        cells = [kind, *_NONE]
        for name, value in event_fields(event, kind).items():
            # Most are numbers.
            cells[_PLACES[name]] = str(value) if type(value) is int else self._cell(value)
        return ",".join(cells).encode()

    def _process(self, image: events.Image) -> bytes:
        """Render `rows.process_fields`; the time is known already."""
        text = self._text
        started = self._times.text(image.start_time) if image.HasField("start_time") else b""
        return b"%b,%d,%d,%b,%b,%b" % (
            text(show(b" ".join(image.arguments[:]))).encode(),
            image.pid,
            image.ppid,
            text(show(image.exec_id)).encode(),
            text(show(image.parent_exec_id)).encode(),
            started,
        )

    def _cells(self, row: Row, columns: Sequence[str]) -> bytes:
        return ",".join([self._cell(row.get(column)) for column in columns]).encode()

    def _cell(self, value: Any) -> str:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return quoted(orjson.dumps(value).decode())  # begins with a brace: no formula
        return self._text(cell(value)) if isinstance(value, list) else cell(value)

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
        identity, comma, _ = line.partition(b",")
        if not comma:
            raise ValueError("it has no cells")
        return identity.decode()


def cell(value: Any) -> str:
    """Return a value as the text of a cell, without quotes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and not (value and isinstance(value[0], dict)):
        return "; ".join([cell(each).replace(";", "\\x3b") for each in value])
    return orjson.dumps(value).decode()


def quoted(text: str) -> str:
    """Return the cell as the csv module writes it."""
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    if "," in text or "\n" in text or "\r" in text:
        return f'"{text}"'
    return text


def _guarded(text: str) -> str:
    return quoted(csv_cell(text))
