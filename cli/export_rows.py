"""The rows of an exported file, batch by batch, found again behind what was changed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from evidence.exports.formats import Format

MOST_LINE_BYTES = 64 << 20
"""More is no row."""
MOST_ROWS_BYTES = 1 << 30
"""Rows of one batch; more is no export."""
MOST_SEARCHES = 20
"""Batches whose rows are looked for in vain; each costs reading the rest of the file."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What is there for a batch."""

    content: bytes
    line: int
    """Number of its first line in the file, from 1."""
    fault: str = ""
    """What is wrong with it; "": it is what was written."""


class Rows:
    """Reads a file in the order of its proof.

    Rows are found by the size that the proof says. Where they are not what was written they are
    found by their ids, so that a change, however long, makes one batch wrong and not all behind it.
    """

    def __init__(self, content: IO[bytes], form: Format) -> None:
        """Read `content`, which can be sought in, from its first batch on."""
        self._content, self._form = content, form
        self._digest = hashlib.sha256()
        self._line, self._vain = 1, 0
        self.size = 0
        self.exact = True
        """Everything so far is what was written."""

    def begin(self) -> str:
        """Read what the format begins with; return what is wrong with it, or ""."""
        head = self._form.head
        if self._next(len(head)) == head:
            return ""
        self.exact = False
        self._content.seek(self.size - len(head))
        self.size, self._line = len(self._content.readline(MOST_LINE_BYTES)), 2
        return "the file does not begin as this format does"

    def take(self, batch: str, size: int, digest: str) -> Taken:
        """Return the rows of `batch`, of which the proof says size and SHA-256."""
        if (content := self._read(size, digest)) is not None:
            return self._took(content)
        self.exact = False
        if (skipped := self._search(batch)) is None:
            return Taken(b"", self._line, "its rows are not in the file")
        if skipped and (content := self._read(size, digest)) is not None:
            return self._took(content)
        content = b"".join(self._own(batch))
        last = self._line + max(content.count(b"\n"), 1) - 1
        if hashlib.sha256(content).hexdigest() == digest:
            fault = f"the proof says that its rows have {size} bytes, they have {len(content)}"
        else:
            fault = f"its rows are not those that were written (lines {self._line} to {last})"
        return self._took(content, fault)

    def ends(self) -> bool:
        """Whether nothing follows."""
        return not self._next(1)

    def is_file(self, size: int, digest: str) -> bool:
        """Whether all that was taken has this size and SHA-256."""
        return self.size == size and self._digest.hexdigest() == digest

    def _next(self, size: int) -> bytes:
        self._content.seek(self.size)
        content = self._content.read(size)
        self._digest.update(content)
        self.size += len(content)
        self._line += content.count(b"\n")
        return content

    def _read(self, size: int, digest: str) -> bytes | None:
        """Return the next `size` bytes when they have this SHA-256; they are not taken yet."""
        self._content.seek(self.size)
        content = self._content.read(size)
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def _took(self, content: bytes, fault: str = "") -> Taken:
        taken = Taken(content, self._line, fault)
        self._digest.update(content)
        self.size += len(content)
        self._line += content.count(b"\n")
        return taken

    def _lines(self) -> Iterator[tuple[bytes, str]]:
        """Yield the lines from here on, each with the batch that it names ("": none)."""
        self._content.seek(self.size)
        while line := self._content.readline(MOST_LINE_BYTES):
            try:
                yield line, self._form.row_id(line).rpartition("/")[0]
            except ValueError:
                yield line, ""

    def _search(self, batch: str) -> int | None:
        """Go to the first row of `batch`; return how many bytes that skips, None: there is none."""
        if self._vain >= MOST_SEARCHES:
            return None
        skipped = lines = 0
        for line, named in self._lines():
            if named == batch:
                self.size, self._line = self.size + skipped, self._line + lines
                return skipped
            skipped, lines = skipped + len(line), lines + 1
        self._vain += 1
        return None

    def _own(self, batch: str) -> Iterator[bytes]:
        """Yield the lines of `batch` that follow; those that name none count as its own."""
        left = MOST_ROWS_BYTES
        for line, named in self._lines():
            if named not in (batch, "") or len(line) > left:
                return
            left -= len(line)
            yield line
