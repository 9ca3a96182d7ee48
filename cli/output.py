"""Rows for people and programs: a table on a terminal, JSON lines or CSV elsewhere."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from chassis.text import csv_cell, show

WIDEST = 60


def rows(
    found: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    form: str,
    total: int = -1,
    *,
    head: bool = True,
) -> None:
    """Print `found`; `form` is table, json or csv; `head` false goes on from a page before."""
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
    _table(columns, cells, head=head)
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


def _table(columns: Sequence[str], cells: list[list[str]], *, head: bool) -> None:
    if not cells:
        print("nothing found", file=sys.stderr)
        return
    widths = [
        min(WIDEST, max(len(line[place]) for line in [list(columns), *cells]))
        for place in range(len(columns))
    ]
    titles = [[column.upper() for column in columns]] if head else []
    for line in [*titles, *cells]:
        shown = [
            (cell if len(cell) <= width else cell[: width - 1] + "…").ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ]
        print("  ".join(shown).rstrip())
