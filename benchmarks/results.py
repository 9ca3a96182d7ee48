"""What a benchmark found: a list of results in a file, and a table of them.

The file holds the last value of every name: a run of one part keeps the numbers of the others.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = Path(__file__).resolve().parent / "results.json"

_MORE_IS_BETTER = ("/s", "x")
"""Ends of units of which more is better: rates, and how many times as fast as the baseline."""


class CannotRun(Exception):  # noqa: N818  (it is about this machine, nothing went wrong)
    """A part, or a piece of one, cannot be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """One number.

    A rate (unit ".../s") or a speed-up (unit "x") should reach its target; anything else, a cost
    or a loss, should not exceed it.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    """What it should be; None: nothing was promised."""
    baseline: float | None = None
    """The peer's number, or the number without us, from the same run."""
    ratio: float | None = field(init=False)
    """value / baseline; None without a baseline, or with one of 0."""

    def __post_init__(self) -> None:
        """Refuse what is no number, and compute the ratio."""
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}, which is no measurement")
        object.__setattr__(self, "ratio", self.value / self.baseline if self.baseline else None)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        if self.unit.endswith(_MORE_IS_BETTER):
            return self.value >= self.target
        return self.value <= self.target


def load(file: Path = FILE) -> list[Result]:
    """Return what earlier runs found; nothing when there is no file.

    Raises:
        ValueError: The file is not a list of results.
    """
    if not file.exists():
        return []
    try:
        return [
            Result(row["name"], row["value"], row["unit"], row["target"], row["baseline"])
            for row in json.loads(file.read_bytes())
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is not a list of results: delete it") from error


def merge(found: Iterable[Result], file: Path = FILE) -> list[Result]:
    """Write `found` over the results of the same names, keep the others; return all, by name."""
    every = {result.name: result for result in (*load(file), *found)}
    merged = [every[name] for name in sorted(every)]
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(json.dumps([asdict(each) for each in merged], indent=1) + "\n")
    fresh.replace(file)
    return merged


def table(results: Iterable[Result]) -> str:
    """Return the results as text for people, one a line, targets that are missed marked."""
    rows = [("name", "value", "unit", "target", "baseline", "ratio", "")]
    rows += [
        (
            each.name,
            _number(each.value),
            each.unit,
            _number(each.target),
            _number(each.baseline),
            _number(each.ratio),
            {True: "met", False: "MISSED", None: ""}[each.met],
        )
        for each in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = (0, 2, 6)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
