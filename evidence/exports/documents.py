"""Formats that are one JSON document a line for each fact."""

import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import orjson

from evidence.exports.facts import Fact, facts, facts_in
from evidence.kinds import Row
from evidence.rows import Batch
from nightherd.event.v1 import event_pb2 as events


class Documents(ABC):
    """Renders facts as JSON lines; what a line holds is the format's own."""

    name: str
    suffix: str
    media_type, head = "application/x-ndjson", b""
    id_at: ClassVar[tuple[str, ...]]
    """The names that lead to the fact's id within a document."""

    def __init__(self, *, raw: bool = False) -> None:  # noqa: B027  (there are no formulas in it)
        """Nothing is kept between batches."""

    @staticmethod
    @abstractmethod
    def document(fact: Fact) -> Row:
        """Return what is said of a fact."""

    def lines(self, batch: Batch, places: Iterable[int]) -> Iterator[bytes]:
        """Yield the events at `places`, a line for each fact."""
        for fact in facts(batch, places):
            yield orjson.dumps(self.document(fact)) + b"\n"

    @staticmethod
    def count(body: events.EventBatch, places: Sequence[int]) -> int:
        """Return how many lines `lines` makes of the events at `places`: one of each fact."""
        return sum(facts_in(body.events[place]) for place in places)

    @classmethod
    def row_id(cls, line: bytes) -> str:
        """Return the id of the fact in `line`.

        Raises:
            ValueError: it is no row.
        """
        found = orjson.loads(line)
        try:
            for name in cls.id_at:
                found = found[name]
        except (KeyError, TypeError):
            raise ValueError("it is no row with an id") from None
        return str(found)


def present(document: Row) -> Row:
    """Return the document without what is empty, at any depth."""
    found: Row = {}
    for name, value in document.items():
        kept = present(value) if isinstance(value, dict) else value
        if kept not in (None, "", [], {}):
            found[name] = kept
    return found


def ip_of(address: str | None) -> str | None:
    """Return the address when it is one of IP: what hosts say may be anything."""
    try:
        return str(ipaddress.ip_address(address or ""))
    except ValueError:
        return None
