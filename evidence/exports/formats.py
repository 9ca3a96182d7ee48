"""The formats of exports."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from evidence.exports.ecs import Ecs
from evidence.exports.ndjson import Ndjson
from evidence.exports.ocsf import Ocsf
from evidence.exports.text_csv import Csv
from evidence.exports.timesketch import Timesketch
from evidence.rows import Batch
from nightherd.event.v1 import event_pb2 as events


class Format(Protocol):
    """Renders batches; made anew for each export, of which it may remember things."""

    name: str
    media_type: str
    suffix: str
    head: bytes
    """What the file begins with."""

    def __init__(self, *, raw: bool = False) -> None:
        """Begin with nothing rendered; `raw`: leave what a spreadsheet takes for formulas."""

    def lines(self, batch: Batch, places: Iterable[int]) -> Iterator[bytes]:
        """Yield the events at `places`, whole lines in pieces; the body may be used up."""

    @staticmethod
    def count(body: events.EventBatch, places: Sequence[int]) -> int:
        """Return how many lines `lines` makes of the events at `places`."""

    @staticmethod
    def row_id(line: bytes) -> str:
        """Return the id of the row in a line. Raises ValueError when it has none."""


FORMATS: tuple[type[Format], ...] = (Csv, Ndjson, Ocsf, Ecs, Timesketch)
BY_NAME: dict[str, type[Format]] = {each.name: each for each in FORMATS}
