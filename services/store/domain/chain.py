"""What is remembered of a chain, and what the next batch's place in it means."""

from dataclasses import dataclass

from delivery.checks import Checked

REMEMBERED = 256
"""Hashes kept in memory a chain, at least; twice as many at most."""


@dataclass(slots=True)
class Memory:
    """The last hashes of a chain and how far it is known."""

    hashes: dict[int, bytes]
    """Number -> hash of the last batches."""
    head: int
    """Highest number that was stored, rejected or dropped."""

    def note(self, checked: Checked) -> bool:
        """Remember a stored batch; return whether it was not known."""
        number = checked.header.batch_number
        self.head = max(self.head, number)
        if number in self.hashes:
            return False
        self.hashes[number] = checked.hash
        if len(self.hashes) > 2 * REMEMBERED:
            for old in sorted(self.hashes)[:-REMEMBERED]:
                del self.hashes[old]
        return True

    def oddities(self, checked: Checked) -> set[str]:
        """What is odd about the place of a batch that is not noted yet.

        "broken link" when it does not name the hash of the one before it, "missing" when numbers
        between it and the head never came.
        """
        number = checked.header.batch_number
        before = self.hashes.get(number - 1)
        if number == 1 and checked.header.previous_hash:
            return {"broken link"}
        if before is not None and before != checked.header.previous_hash:
            return {"broken link"}
        return {"missing"} if number > self.head + 1 else set()

    def place(self, checked: Checked) -> "Place":
        """Return what is known about the number of a batch before it is stored."""
        number = checked.header.batch_number
        return Place(checked, self.hashes.get(number), may_be_there=number <= self.head)


@dataclass(frozen=True, slots=True)
class Place:
    """A batch and what is known about its number."""

    checked: Checked
    hash_there: bytes | None
    """Hash of the batch that is stored under this number; None when it is not known."""
    may_be_there: bool
    """Whether one may be stored already, on whatever day."""
