"""Query strings: the names of the console's contract, read and checked.

Lenient where real clients are odd (a name given twice, empty values, limits above the most), strict
where silence would mislead (unknown names, unknown values of an enumeration).
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.fields import Field, columns
from gateway.problems import ProblemError

DEFAULT_LIMIT, MOST_LIMIT = 50, 250
"""The contract's; a larger limit is answered with the most, clients go on by offset."""
MOST_QUERY_BYTES = 16_384
MOST_NUMBER = 2**31 - 1
TIME_EXAMPLE = "2026-11-24T15:04:05Z"

PAGING = ("offset", "limit", "search", "sort", "reverse", "collections", "accountIDs", "fields")
"""Of these `collections` changes nothing: there is one collection, All."""
# Tolerated on every call: other clients add it, and it means nothing here.
EVERYWHERE = ("project",)
_DIGITS = re.compile("[0-9]{1,20}")
_NUMBERS = ("offset", "limit", "top", "slice", "seconds")
_FLAGS, _TIMES = ("reverse", "interactive", "raw"), ("from", "to", "around")
_SINGLE = ("search", "sort", "time", "cursor", "order")


@dataclass(frozen=True, slots=True)
class Question:
    """A query string, read.

    Attributes:
        values: the values of each name, without empty ones.
    """

    values: Mapping[str, list[str]]

    def all(self, name: str) -> list[str]:
        """Every value of `name`."""
        return list(self.values.get(name, ()))

    def last(self, name: str) -> str:
        """The last value of `name`, or ""."""
        values = self.values.get(name, ())
        return values[-1] if values else ""

    def number(self, name: str, default: int) -> int:
        """The last value of `name` as a whole number from 0.

        Raises:
            ProblemError: 400; it is none.
        """
        text = self.last(name)
        if not text:
            return default
        if not _DIGITS.fullmatch(text) or int(text) > MOST_NUMBER:
            raise ProblemError(400, f"{name}: a whole number from 0 to {MOST_NUMBER}")
        return int(text)

    def limit(self) -> int:
        """How many rows a page may have."""
        return min(self.number("limit", DEFAULT_LIMIT), MOST_LIMIT) or DEFAULT_LIMIT

    def flag(self, name: str) -> bool | None:
        """The values of `name` as true or false; None when none or both are given.

        Raises:
            ProblemError: 400; something else.
        """
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        given = {words.get(text.lower()) for text in self.all(name)}
        if None in given:
            raise ProblemError(400, f"{name}: true or false")
        return given.pop() if len(given) == 1 else None

    def time(self, name: str) -> Timestamp | None:
        """The last value of `name` as a moment (RFC 3339; without zone: UTC); None when not given.

        Raises:
            ProblemError: 400; it is none.
        """
        text = self.last(name)
        if not text:
            return None
        timestamp = Timestamp()
        try:
            # A "+" that a client did not encode arrives as a space.
            moment = dt.datetime.fromisoformat(text.replace(" ", "+"))
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=dt.UTC)
            timestamp.FromDatetime(moment)
        except (ValueError, OverflowError):
            raise ProblemError(
                400,
                f"{name}: {text[:60]!r} is not a valid time; write it as {TIME_EXAMPLE} "
                "(RFC 3339; a date alone is its midnight; UTC unless a zone is given)",
            ) from None
        return timestamp

    def span(self, first: str = "from", last: str = "to") -> None:
        """Check that the moments `first` and `last` are in this order, where both are given.

        Raises:
            ProblemError: 400; they are not: nothing can be in such a span.
        """
        begin, end = self.time(first), self.time(last)
        if begin is not None and end is not None and begin.ToNanoseconds() > end.ToNanoseconds():
            raise ProblemError(
                400,
                f"{first} ({self.last(first)}) is after {last} ({self.last(last)}): "
                "nothing can be between them",
            )

    def words(self, name: str, known: Mapping[str, Any]) -> list[Any]:
        """What the values of `name` stand for.

        Raises:
            ProblemError: 400; one is not `known`, with all that are.
        """
        for value in self.all(name):
            if value not in known:
                listed = ", ".join(known)
                raise ProblemError(400, f"{name}: {value[:60]!r} is unknown; known are {listed}")
        return [known[value] for value in self.all(name)]

    def fields(self) -> frozenset[str]:
        """Which fields an answer should have; empty: all."""
        parts = (part for value in self.all("fields") for part in value.split(","))
        return frozenset(part.strip() for part in parts if part.strip())

    def project(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return only the fields of `row` that were asked for."""
        wanted = self.fields()
        return {name: value for name, value in row.items() if name in wanted} if wanted else row


def read(request: Request, allowed: Iterable[str], rows: Iterable[Field] = ()) -> Question:
    """Read a query string that may have the names `allowed`, and fields of `rows`.

    Raises:
        ProblemError: 400 for an unknown name or field, a span that ends before it begins, or a
            query that is too long.
    """
    if len(request.scope.get("query_string", b"")) > MOST_QUERY_BYTES:
        raise ProblemError(400, f"The query is longer than {MOST_QUERY_BYTES} bytes")
    known = frozenset((*allowed, *EVERYWHERE))
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            listed = ", ".join(sorted(known))
            raise ProblemError(400, f"{name[:60]}: no such query name; known are {listed}")
        if "\0" in value:
            raise ProblemError(400, f"{name}: must not contain NUL")
        if value:
            values.setdefault(name, []).append(value)
    question = Question(values)
    question.span()
    _check_fields(question, columns(rows))
    return question


def _check_fields(question: Question, known: tuple[str, ...]) -> None:
    if unknown := question.fields() - frozenset(known):
        listed = ", ".join(known)
        raise ProblemError(400, f"fields: {min(unknown)[:60]!r} is unknown; known are {listed}")


def parameters(names: Iterable[str], *more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of query names, with `more` of an operation's parts."""
    described = []
    for name in names:
        kind: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
        if name in _NUMBERS:
            kind = {"type": "integer", "minimum": 0}
        elif name in _FLAGS:
            kind = {"type": "boolean"}
        elif name in _TIMES:
            kind = {"type": "string", "format": "date-time", "example": TIME_EXAMPLE}
        elif name in _SINGLE:
            kind = {"type": "string"}
        described.append({"name": name, "in": "query", "required": False, "schema": kind})
    operation: dict[str, Any] = {"parameters": described} if described else {}
    for part in more:
        operation.update(part)
    return operation
