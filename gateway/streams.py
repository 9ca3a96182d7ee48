"""Answers: JSON pages; CSV and JSON lines, written as they come, with constant memory."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from starlette.responses import Response, StreamingResponse

from chassis.mongo import PyMongoError
from chassis.text import csv_cell
from evidence.exports.text_csv import cell as text_cell
from gateway.problems import BrokenOffError, PeerError
from gateway.queries import Question

Some = TypeVar("Some")


class ExactType(StreamingResponse):
    """A stream whose Content-Type is exactly what was said: clients compare the whole header."""

    def __init__(self, content: AsyncIterator[bytes], media_type: str, file_name: str = "") -> None:
        """Stream `content`; `file_name` offers it as a download."""
        headers = {"Content-Type": media_type}
        if file_name:
            headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
        # No media_type: Starlette would add a charset to text types.
        super().__init__(_to_the_end(content), headers=headers)


async def _to_the_end(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `content`; its status is sent, so a failure can only end it without its end.

    Raises:
        BrokenOffError: a service or the database failed in between.
    """
    try:
        async for part in content:
            yield part
    except (PeerError, PyMongoError) as error:
        raise BrokenOffError(str(error)[:200]) from error


async def begun(parts: AsyncIterator[Some]) -> AsyncIterator[Some]:
    """Return `parts` after their first one has come, so that a refusal is still a status."""
    try:
        first = await anext(parts)
    except StopAsyncIteration:
        return _chained((), parts)
    return _chained((first,), parts)


async def _chained(first: Iterable[Some], rest: AsyncIterator[Some]) -> AsyncIterator[Some]:
    for part in first:
        yield part
    async for part in rest:
        yield part


async def csv_answer(
    parts: AsyncIterator[Sequence[Mapping[str, Any]]],
    columns: Sequence[str],
    question: Question,
    file_name: str,
) -> Response:
    r"""Return rows as a CSV file with the `columns` that `fields` asks for, once the first came.

    Lists are joined by "; " (a semicolon within an element is \x3b), objects are JSON. Cells that a
    spreadsheet would take for formulas get a quote in front unless `raw` is asked for.
    """
    wanted = question.fields() or frozenset(columns)
    shown = [name for name in columns if name in wanted] or list(columns)
    raw = question.flag("raw") or False
    lines = _csv_lines(await begun(parts), shown, raw=raw)
    return ExactType(lines, "text/csv", file_name)


async def _csv_lines(
    parts: AsyncIterator[Sequence[Mapping[str, Any]]], columns: Sequence[str], *, raw: bool
) -> AsyncIterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    yield _take(buffer)
    cell = text_cell if raw else _safe_cell
    async for part in parts:
        writer.writerows([cell(row.get(column)) for column in columns] for row in part)
        yield _take(buffer)


def _take(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8")


def _safe_cell(value: Any) -> str:
    # Most cells are empty or text. Numbers are ours: a negative one is no formula.
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_cell(value)
    return text_cell(value) if isinstance(value, int | float) else csv_cell(text_cell(value))


def json_answer(
    rows: Any, total: int | None = None, status: int = 200, cursor: str = ""
) -> Response:
    """Return a JSON answer; clients page by `total` (Total-Count) or `cursor` (Next-Cursor)."""
    headers = {} if total is None else {"Total-Count": str(total)}
    if cursor:
        headers["Next-Cursor"] = cursor
    return Response(orjson.dumps(rows), status, headers, "application/json")
