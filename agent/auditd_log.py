"""Log files of auditd, record by record.

A line is `type=SYSCALL msg=audit(1364481363.243:24287): …`, with `node=host ` before it where
several hosts log to one place. Files come rotated and compressed: plain or .gz, read in the order
of their time whatever the order in which they are named. What is no record is rejected, said, and
counted: lines = records + rejected.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from agent.sensors.records import AuditRecord

MOST_LINE_BYTES: Final = 32 << 10
"""The kernel's records are shorter than 9 KiB; names that auditd adds may double it."""
MOST_KINDS: Final = 2000
"""Types of records that are told apart; some 200 exist."""
OTHER_KIND: Final = "OTHER"
_BLOCK_BYTES: Final = 1 << 20
_LATEST_S: Final = (1 << 63) // 1_000_000_000
"""Nanoseconds since 1970 have to fit into 64 bits."""
_LOOK_FOR_TIME_BYTES: Final = 1 << 20
_LINE = re.compile(rb"type=([A-Za-z0-9_\[\]]{1,40}) msg=audit\((\d{1,12}\.\d{3}:\d{1,20})\):? ?")
_NODE = re.compile(rb"node=(\S+) ")

Reject = Callable[[str], None]
"""Is told, in a sentence, what was not taken."""


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    """Open a log, compressed or not.

    Raises:
        OSError: It cannot be read.
    """
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


class AuditdLog:
    """The records of log files, of one host: iterate over it."""

    def __init__(self, files: list[Path], reject: Reject) -> None:
        """Read `files`; tell `reject` of what is no record."""
        self._files, self._reject = sorted(files, key=_begins), reject
        self._node: bytes | None = None
        self.lines = 0
        """Lines that are not blank, so far."""
        self.rejected = 0

    @property
    def node(self) -> str:
        """Name of the host, as the records read so far have it; "": they have none."""
        return _shown(self._node or b"")

    def __iter__(self) -> Iterator[AuditRecord]:
        """Yield records as they stand in the files."""
        for path in self._files:
            try:
                with _opened(path) as file:
                    yield from self._records(path.name, file)
            except (OSError, EOFError, zlib.error) as error:
                self.lines += 1
                self.rejected += 1
                self._reject(f"{path.name}: the rest cannot be read: {error}")

    def _records(self, name: str, file: BinaryIO | gzip.GzipFile) -> Iterator[AuditRecord]:
        kinds: dict[bytes, str] = {}
        stamp, wall_ns, serial = b"", 0, 0
        match = _LINE.match
        for number, line in enumerate(_lines(file), 1):
            found = match(line)
            if found is None and line.startswith(b"node="):
                line = self._own(name, number, line)  # noqa: PLW2901  (what is left of it)
                found = match(line)
            if found is None or len(line) > MOST_LINE_BYTES:
                self._no_record(name, number, line)
                continue
            self.lines += 1
            word, numbers = found.groups()
            if numbers != stamp:
                seconds, _, rest = numbers.partition(b".")
                if int(seconds) >= _LATEST_S:
                    self._not_taken(name, number, "its time is out of range")
                    continue
                stamp, serial = numbers, int(rest[4:])
                wall_ns = int(seconds) * 1_000_000_000 + int(rest[:3]) * 1_000_000
            kind = kinds.get(word)
            if kind is None:
                kind = OTHER_KIND
                if len(kinds) < MOST_KINDS:
                    kind = kinds[word] = word.decode("ascii")
            yield AuditRecord(kind, wall_ns, serial, line[found.end() :])

    def _own(self, name: str, number: int, line: bytes) -> bytes:
        """Return a line without the name of its host; b"" when that is another host."""
        found = _NODE.match(line)
        if found is None:
            return line
        if self._node is None:
            self._node = found[1]
        if found[1] == self._node:
            return line[found.end() :]
        self.lines += 1
        self._not_taken(name, number, f"it is of another host, {_shown(found[1])}")
        return b""

    def _no_record(self, name: str, number: int, line: bytes) -> None:
        if line.strip():
            self.lines += 1
            self._not_taken(name, number, _why_not(line))

    def _not_taken(self, name: str, number: int, why: str) -> None:
        self.rejected += 1
        self._reject(f"{name}:{number}: {why}")


def _lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """Yield lines without their end; of one that is too long its beginning, and never all of it."""
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        *whole, rest = (rest + block).split(b"\n")
        if b"\r" in block:
            whole = [line.removesuffix(b"\r") for line in whole]
        yield from whole
        if len(rest) > MOST_LINE_BYTES:
            # Binary rubbish without an end of line: forget it up to the next one.
            yield rest[: MOST_LINE_BYTES + 1]
            rest = b""
            while block := file.read(_BLOCK_BYTES):
                _, end, rest = block.partition(b"\n")
                if end:
                    break
    if rest:
        yield rest.removesuffix(b"\r")


def _why_not(line: bytes) -> str:
    if len(line) > MOST_LINE_BYTES:
        return f"it is longer than {MOST_LINE_BYTES} bytes"
    if b"type=" not in line[:300]:
        return f"it names no type: {_shown(line)}"
    return f"it has no readable time and serial: {_shown(line)}"


def _shown(raw: bytes) -> str:
    text = raw[:60].decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _begins(path: Path) -> tuple[int, int]:
    """Return the time and serial of a file's first record; what has none comes last."""
    try:
        with _opened(path) as file:
            for line in file.read(_LOOK_FOR_TIME_BYTES).split(b"\n"):
                if found := _LINE.match(_NODE.sub(b"", line, count=1)):
                    seconds, _, rest = found[2].partition(b".")
                    return int(seconds) * 1000 + int(rest[:3]), int(rest[4:])
    except (OSError, EOFError, zlib.error):
        pass
    return 1 << 63, 0
