"""Missing batches that a host's agent said it gave up: told apart from those nobody speaks of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from nightherd.event.v1 import event_pb2 as events

MOST_TOLD = 1000
MOST_HOLES = 10_000
Stretch = tuple[int, int]
"""First and last number of batches that follow one another."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What was said of missing batches."""

    first: int
    last: int
    event_count: int
    """0: not known."""
    cause: "events.Gap.Cause.ValueType"
    witness: int = 0
    """Number of the batch of the same chain that says so; 0: said over the connection only."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Batches that are missing as their agent said."""

    first: int
    last: int
    event_count: int
    cause: "events.Gap.Cause.ValueType"
    signed: bool
    """Whether a batch that is here, with a good signature, says so."""


def claims_of(chain_key: str, said: Iterable[tuple[str, events.Gap]]) -> list[Claim]:
    """Return what is said of one chain; `said` are gaps with the ids under which they are kept.

    A gap that an agent sealed is kept as "<chain>/<number of the batch>/<place>", one that it said
    over its connection as "<chain>/dropped/<first>-<last>".
    """
    found = []
    for gap_id, gap in said:
        if not gap_id.startswith(f"{chain_key}/"):
            continue
        where = gap_id.removeprefix(f"{chain_key}/").partition("/")[0]
        witness = int(where) if where.isascii() and where.isdigit() else 0
        found.append(Claim(gap.first_batch, gap.last_batch, gap.lost, gap.cause, witness))
    return found


@dataclass(slots=True)
class Holes:
    """Collects what is missing of a chain, and what its own batches say of it."""

    claims: Sequence[Claim] = ()
    given_up: list[GivenUp] = field(default_factory=list)
    _holes: list[Stretch] = field(default_factory=list)
    _shown: set[Stretch] = field(default_factory=set)
    """What a batch with a good signature says was given up."""
    _witnesses: frozenset[int] | None = None

    def add(self, first: int, last: int) -> None:
        """Note that batches are not there."""
        if len(self._holes) < MOST_HOLES:
            self._holes.append((first, last))
        else:  # the rest as one
            self._holes[-1] = (self._holes[-1][0], last)

    def asks(self, number: int) -> bool:
        """Whether the batch `number` is said to bear witness of something missing."""
        if self._witnesses is None:
            self._witnesses = frozenset(claim.witness for claim in self.claims if claim.witness)
        return number in self._witnesses

    def hear(self, content: bytes) -> None:
        """Take what a batch with a good signature says; `content` is its opened body."""
        try:
            body = events.EventBatch.FromString(content)
        except DecodeError:
            return
        for event in body.events:
            if event.HasField("gap") and 0 < event.gap.first_batch <= event.gap.last_batch:
                self._shown.add((event.gap.first_batch, event.gap.last_batch))

    def missing(self) -> list[Stretch]:
        """Return what is missing and of which nobody speaks; the rest is in `given_up`."""
        left = self._holes
        # What is signed first: where both speak, it says more.
        signed = [c for c in self.claims if (c.first, c.last) in self._shown]
        said = [c for c in self.claims if (c.first, c.last) not in self._shown]
        for some, is_signed in ((signed, True), (said, False)):
            for claim in sorted(some, key=lambda each: each.first):
                left = self._without(left, claim, signed=is_signed)
        self.given_up.sort(key=lambda each: each.first)
        return left

    def _without(self, holes: list[Stretch], claim: Claim, *, signed: bool) -> list[Stretch]:
        left: list[Stretch] = []
        for first, last in holes:
            begin, end = max(first, claim.first), min(last, claim.last)
            if begin > end:
                left.append((first, last))
                continue
            whole = (begin, end) == (claim.first, claim.last)
            if len(self.given_up) < MOST_TOLD:
                count = claim.event_count if whole else 0
                self.given_up.append(GivenUp(begin, end, count, claim.cause, signed))
            left += [(first, begin - 1)] if first < begin else []
            left += [(end + 1, last)] if end < last else []
        return left
