"""Long answers: CSV and JSON lines, written as they come, with constant memory."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse

from chassis.text import csv_cell


class ExactType(StreamingResponse):
    """A stream whose Content-Type is exactly what was said: clients compare the whole header."""

    def __init__(self, content: AsyncIterator[bytes], media_type: str, file_name: str = "") -> None:
        """Stream `content`; `file_name` offers it as a download."""
        headers = {"Content-Type": media_type}
        if file_name:
            headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
        # No media_type: Starlette would add a charset to text types.
        super().__init__(content, headers=headers)


async def first_of(parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Return `parts` after their first element has come, so that a refusal is still a status."""
    try:
        first = await anext(parts)
    except StopAsyncIteration:
        return _nothing()
    return _chained(first, parts)


async def _nothing() -> AsyncIterator[Any]:
    return
    yield  # makes this a generator


async def _chained(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for part in rest:
        yield part


async def csv_lines(
    parts: AsyncIterator[Sequence[Any]],
    columns: Sequence[str],
    row_of: Callable[[Any], Mapping[str, Any]],
    *,
    raw: bool,
) -> AsyncIterator[bytes]:
    """Yield a CSV file: a header line, then a line for each record of each part.

    Lists are joined by a semicolon and a space. Cells that a spreadsheet would take for formulas
    get a quote in front unless `raw`.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    yield _take(buffer)
    async for part in parts:
        for record in part:
            row = row_of(record)
            cells = [_cell(row.get(column)) for column in columns]
            writer.writerow(cells if raw else [csv_cell(cell) for cell in cells])
        yield _take(buffer)


def _take(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "; ".join(_cell(each) for each in value)
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return str(value)


def json_answer(rows: Any, total: int | None = None, status: int = 200) -> Response:
    """Return a JSON answer; `total` goes into Total-Count, by which clients page."""
    headers = {} if total is None else {"Total-Count": str(total)}
    return Response(orjson.dumps(rows), status, headers, "application/json")
