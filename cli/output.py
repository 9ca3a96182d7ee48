"""Rows for people and programs: a table on a terminal, JSON lines or CSV elsewhere."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from chassis.text import csv_cell, show

WIDEST = 60
"""Characters of a cell on a terminal. Elsewhere, of ids, and on demand cells are whole."""


def rows(
    found: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    form: str,
    total: int = -1,
    *,
    head: bool = True,
    wide: bool = False,
) -> None:
    """Print `found`; `form` is table, json or csv; `head` false goes on from a page before.

    A table is cut only where a person looks at it, and not when `wide`.
    """
    if form == "json":
        for row in found:
            print(json.dumps(row, ensure_ascii=True))
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in found]
    if form == "csv":
        writer = csv.writer(sys.stdout)
        if head:
            writer.writerow(columns)
        writer.writerows([[csv_cell(cell) for cell in line] for line in cells])
        return
    _table(columns, cells, head=head, cut=sys.stdout.isatty() and not wide)
    if total > len(found):
        print(f"{len(found)} of {total}; --limit and --offset show others", file=sys.stderr)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(each) for each in value)
    return show(str(value))


def _table(columns: Sequence[str], cells: list[list[str]], *, head: bool, cut: bool) -> None:
    if not cells:
        print("nothing found", file=sys.stderr)
        return
    widths = [
        max(len(line[place]) for line in [list(columns), *cells])
        if _is_id(column)
        else min(WIDEST, max(len(line[place]) for line in [list(columns), *cells]))
        for place, column in enumerate(columns)
    ]
    titles = [[column.upper() for column in columns]] if head else []
    for line in [*titles, *cells]:
        shown = [
            (cell if len(cell) <= width or not cut else cell[: width - 1] + "…").ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ]
        print("  ".join(shown).rstrip())


def _is_id(column: str) -> bool:
    """Whether a column holds what other commands are asked with: half of it is of no use."""
    return column == "id" or column.endswith("ID")
