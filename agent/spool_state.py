"""What a spool remembers beside its batches: cursors, its head, what it gave up, what was told.

    {"store": 7, "detector": 5, "modeler": 7, "chain": "<hex>", "head": [9, "<hash in hex>"],
     "given_up": {"detector": [[first, last, events, first_ns, last_ns], …]}, "told": [[3, 4]]}

Losing the file costs resends and makes counts unknown, never a batch.
"""

import json
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.stages.seal import Link
from nightherd.event.v1 import event_pb2 as events

RECEIVERS = ("store", "detector", "modeler")
MOST_PIECES = 1000
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Evicted:
    """Batches that had to go before a receiver had them."""

    first: int
    last: int
    event_count: int
    """Events that were in them; 0: not known."""
    first_ns: int = 0
    last_ns: int = 0
    """From which to which moment their events were, in wall ns; 0: not known."""
    cause: "events.Gap.Cause.ValueType" = events.Gap.CAUSE_SPOOL_EVICTION


@dataclass(slots=True)
class GivenUp:
    """What one receiver will never get, in pieces of ascending numbers."""

    pieces: list[Evicted] = field(default_factory=list)
    _counts: "array[int]" = field(default_factory=lambda: array("I"))
    """Events of each batch of the first piece: its receiver may have settled a part of it."""

    def add(self, piece: Evicted, counts: "array[int]") -> None:
        """Note that one more segment is gone."""
        if not self.pieces:
            self._counts = counts if len(counts) == piece.last - piece.first + 1 else array("I")
        last = self.pieces[-1] if len(self.pieces) > 1 else None
        if last is not None and (last.last + 1 == piece.first or len(self.pieces) >= MOST_PIECES):
            self.pieces[-1] = Evicted(
                last.first,
                piece.last,
                last.event_count + piece.event_count,
                last.first_ns,
                piece.last_ns,
            )
        else:
            self.pieces.append(piece)

    def through(self, number: int) -> None:
        """Everything through `number` is settled."""
        while self.pieces and self.pieces[0].last <= number:
            del self.pieces[0]
            self._counts = array("I")

    def at(self, number: int, last: int) -> Evicted:
        """Return what is known of the missing stretch `number` to `last`, or of its beginning."""
        for place, piece in enumerate(self.pieces):
            if piece.first > number:
                return Evicted(number, min(last, piece.first - 1), 0)
            if piece.last < number:
                continue
            end = min(piece.last, last)
            count = piece.event_count
            if (number, end) != (piece.first, piece.last):
                within = self._counts[number - piece.first : end + 1 - piece.first]
                count = sum(within) if place == 0 else 0
            return Evicted(number, end, count, piece.first_ns, piece.last_ns)
        return Evicted(number, last, 0)


@dataclass(slots=True)
class State:
    """The content of the file."""

    cursors: dict[str, int]
    head: Link
    given_up: dict[str, GivenUp]
    told: list[tuple[int, int]]
    """Damage that was told already: (first, last)."""

    @classmethod
    def read(cls, path: Path, chain_id: bytes) -> "State":
        """Read the file; what is missing, broken or of another chain is as at the beginning."""
        try:
            known: Any = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            known = {}
        if not isinstance(known, dict) or known.get("chain", chain_id.hex()) != chain_id.hex():
            known = {}
        given_up = known.get("given_up")
        return cls(
            {receiver: _number(known.get(receiver)) for receiver in RECEIVERS},
            _head(known.get("head"), chain_id),
            {
                receiver: GivenUp(
                    [
                        Evicted(row[0], row[1], row[2], row[3], row[4])
                        for row in _rows(_of(given_up, receiver), 5)
                        if 0 < row[0] <= row[1]
                    ]
                )
                for receiver in RECEIVERS
            },
            [(first, last) for first, last in _rows(known.get("told"), 2)],
        )

    def untold(self, damaged: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return what of `damaged` was not told yet."""
        told = merged(self.told)
        return [
            (first, last)
            for first, last in damaged
            if not any(begin <= first and last <= end for begin, end in told)
        ]

    def content(self) -> bytes:
        """Return what is to be written."""
        return json.dumps(
            {
                **self.cursors,
                "chain": self.head.chain_id.hex(),
                "head": [self.head.number, self.head.hash.hex()],
                "given_up": {
                    receiver: [
                        [p.first, p.last, p.event_count, p.first_ns, p.last_ns] for p in g.pieces
                    ]
                    for receiver, g in self.given_up.items()
                    if g.pieces
                },
                "told": self.told[-MOST_PIECES:],
            }
        ).encode()


def merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return stretches of numbers in order, those that touch as one."""
    whole: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(last, whole[-1][1]))
        else:
            whole.append((first, last))
    return whole


def _number(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 63 else 0


def _head(value: Any, chain_id: bytes) -> Link:
    nothing = Link(chain_id, 0, b"")
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):  # noqa: PLR2004
        return nothing
    try:
        digest = bytes.fromhex(value[1])
    except ValueError:
        return nothing
    number = _number(value[0])
    return Link(chain_id, number, digest) if number and len(digest) == _HASH_BYTES else nothing


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _rows(value: Any, width: int) -> list[list[int]]:
    """Return the rows of `width` numbers in a list that may hold anything."""
    if not isinstance(value, list):
        return []
    return [
        [_number(number) for number in row]
        for row in value[:MOST_PIECES]
        if isinstance(row, list) and len(row) == width
    ]
