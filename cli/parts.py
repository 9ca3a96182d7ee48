"""A download in the making: rows and proof in two files that are whole up to a batch's end.

While it lasts they are FILE.part and FILE.proof.part. Behind each batch comes its proof line,
which says how long its rows are: so whatever broke off, both can be cut to what is whole.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

import orjson

from evidence.exports import proof

MOST_LINE_BYTES = 32 << 20
"""A proof line with the largest body there can be."""
_COPY = 1 << 20


class BrokenPartError(Exception):
    """What lies there cannot be gone on with; says what to do."""


def proof_of(out: Path) -> Path:
    """Return the file with the proof of `out`."""
    return out.with_name(f"{out.name}.proof.jsonl")


class Parts:
    """Takes an answer with proof lines apart, and knows where it is whole."""

    def __init__(
        self, out: Path, form: str, query: Mapping[str, Any], *, force: bool = False
    ) -> None:
        """Write `out`, or go on with what an earlier run left of the same question.

        `force`: write over what is there, and forget what is left of another question.
        """
        self._force = force
        self.out, self.proof_file = out, proof_of(out)
        self._rows_part = out.with_name(f"{out.name}.part")
        self._proof_part = out.with_name(f"{out.name}.proof.part")
        self._asked_part = out.with_name(f"{out.name}.asked.part")
        self._asked = orjson.dumps({"format": form, **query}, option=orjson.OPT_SORT_KEYS)
        self.position, self.complete = "", False
        self.events = self.batches = self.size = 0
        self._proof_size = 0
        self._digest = hashlib.sha256()
        self._whole = self._digest.copy()
        self._written = 0
        self._pending = b""
        self._at_start = True
        self._rows: IO[bytes] = io.BytesIO()
        self._proof: IO[bytes] = io.BytesIO()
        self._first: dict[str, Any] = {}
        """The first line of the proof, once it came."""
        self._answered = {"batches": 0, "events": 0}
        """What came in this answer."""
        self._claims: dict[str, Any] = {}
        """What the gateway says that the whole shows, and what not."""

    def __enter__(self) -> Self:
        """Open both files.

        Raises:
            OSError: they cannot be written.
            BrokenPartError: there is no folder, there is such a file already, or what is left is of
                another question.
        """
        if not self.out.parent.is_dir():
            raise BrokenPartError(f"there is no folder {self.out.parent}: make it, then try again")
        there = [path for path in (self.out, self.proof_file) if os.path.lexists(path)]
        if odd := [path for path in there if path.is_symlink() or not path.is_file()]:
            raise BrokenPartError(f"{odd[0]} is no regular file, and is not replaced: name another")
        if there and not self._force:
            raise BrokenPartError(f"{there[0]} is there already: --force writes over it")
        again = self._asked_part.exists()
        if again and self._asked_part.read_bytes() != self._asked:
            if not self._force:
                raise BrokenPartError(
                    f"{self._asked_part} is what is left of another export: --force begins anew, "
                    "the same question as then goes on with it"
                )
            again = False
        try:
            self._asked_part.write_bytes(self._asked)
            self._rows = self._rows_part.open("r+b" if again else "w+b")
            self._proof = self._proof_part.open("r+b" if again else "w+b")
            if again:
                self._recall()
        except BaseException:
            self._close(keep=again)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close them; what can be gone on with stays, and nothing else."""
        self._close(keep=bool(self.position))

    def _close(self, *, keep: bool) -> None:
        for file in (self._rows, self._proof):
            # What a full disk did not take is not whole, and is fetched again.
            with contextlib.suppress(OSError):
                file.close()
        if not keep:
            for path in (self._rows_part, self._proof_part, self._asked_part):
                path.unlink(missing_ok=True)

    def _recall(self) -> None:
        """Find the end of the last whole batch of an earlier run.

        Raises:
            BrokenPartError: it cannot be read.
        """
        try:
            self._find_end()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BrokenPartError(
                f"{self._proof_part} was damaged: remove it and {self._asked_part} to begin anew"
            ) from None
        self._rows.seek(0)
        left = self.size
        while left and (some := self._rows.read(min(left, _COPY))):
            self._digest.update(some)
            left -= len(some)
        self._whole = self._digest.copy()
        self.rewind()

    def _find_end(self) -> None:
        size = 0
        while (line := self._proof.readline(MOST_LINE_BYTES)).endswith(b"\n"):
            said = orjson.loads(line)
            if size == 0 and "batch" not in said:
                size = len(self._head_of(said))
            size += said.get("bytes", 0)
            if self._rows_part.stat().st_size < size:
                break
            self._note(said)
            self.size, self._proof_size = size, self._proof.tell()

    @staticmethod
    def _head_of(said: dict[str, Any]) -> bytes:
        from evidence.exports.formats import BY_NAME

        return BY_NAME[said["format"]].head

    def _note(self, said: dict[str, Any]) -> None:
        if "batch" in said:
            self.position = said["position"]
            self.batches += 1
            self.events += said.get("events", 0)

    def rewind(self) -> None:
        """Cut both files to what is whole."""
        for file, size in ((self._rows, self.size), (self._proof, self._proof_size)):
            file.flush()
            file.seek(size)
            file.truncate()
        self._digest, self._written = self._whole.copy(), self.size
        self._pending, self._at_start = b"", True
        if not self.position:
            self._restart()

    def _restart(self) -> None:
        """Begin anew where no batch was whole yet."""
        self._rows.seek(0)
        self._rows.truncate()
        self._proof.seek(0)
        self._proof.truncate()
        self.size = self._written = self._proof_size = 0
        self._digest, self._whole = hashlib.sha256(), hashlib.sha256()

    def take(self, some: bytes) -> None:
        """Take the next bytes of the answer.

        Raises:
            OSError: they cannot be written.
        """
        data = self._pending + some
        place = 0
        while place < len(data):
            if self._at_start and data.startswith(proof.MARK, place):
                end = data.find(b"\n", place)
                if end < 0:
                    break
                self._proof_line(data[place + 1 : end + 1])
                place = end + 1
                continue
            mark = data.find(b"\n" + proof.MARK, place)
            end = len(data) if mark < 0 else mark + 1
            self._rows_bytes(memoryview(data)[place:end])
            self._at_start = data.endswith(b"\n", place, end)
            place = end
        self._pending = data[place:]

    def _rows_bytes(self, some: memoryview) -> None:
        self._rows.write(some)
        self._digest.update(some)
        self._written += len(some)

    def _proof_line(self, line: bytes) -> None:
        said = orjson.loads(line)
        if "nightherdExport" in said:
            # It comes with each answer; once is enough.
            self._first, self._answered = said, {"batches": 0, "events": 0}
            if not self._proof_size:
                self._proof.write(line)
                self._proof_size = len(line)
            return
        if "end" in said:
            answered = said.get("answered")
            if answered is not None and answered != self._answered:
                raise BrokenPartError(
                    f"the gateway says that it sent {answered}, and {self._answered} came: nothing "
                    "of this export can be relied on"
                )
            self.complete = True
            self._claims = {name: said[name] for name in ("shows", "doesNotShow") if name in said}
            return
        head = len(self._head_of(self._first)) if self._first and not self.position else 0
        came = self._written - self.size - head
        if came != said.get("bytes"):
            raise BrokenPartError(
                f"of batch {said.get('batch')} {came} bytes of rows came, not {said.get('bytes')}: "
                "rows are missing"
            )
        self._rows.flush()
        self._proof.write(line)
        self._note(said)
        self._answered["batches"] += 1
        self._answered["events"] += said.get("events", 0)
        self._proof_size += len(line)
        self.size, self._whole = self._written, self._digest.copy()

    def finish(self) -> None:
        """End the proof with what the whole file is, and give both their names."""
        self.size = self._written
        self._proof.write(
            proof.end(
                bytes=self.size,
                sha256=self._digest.hexdigest(),
                batches=self.batches,
                events=self.events,
                **self._claims,
            )
        )
        self._rows.close()
        self._proof.close()
        self._proof_part.replace(self.proof_file)
        self._rows_part.replace(self.out)
        self._asked_part.unlink()
