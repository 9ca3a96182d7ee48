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

MOST_LINE_BYTES: Final = 32 << 10
"""The kernel's records are shorter than 9 KiB; names that auditd adds may double it."""
MOST_KINDS: Final = 2000
"""Types of records that are told apart; some 200 exist."""
OTHER_KIND: Final = "OTHER"
_BLOCK_BYTES: Final = 128 << 10
_LATEST_NS: Final = (1 << 63) // 1_000_000_000 * 1_000_000_000
"""Nanoseconds since 1970 have to fit into 64 bits."""
_LOOK_FOR_TIME_BYTES: Final = 1 << 20
_HEAD: Final = rb"type=([A-Za-z0-9_\[\]]{1,40}) msg=audit\((\d{1,12}\.\d{3}:\d{1,20})\):? ?"
_MOST_HEAD_BYTES: Final = 100
_LINE = re.compile(_HEAD)
_LINES = re.compile(
    rb"(?:node=(\S+) )?%b(.{0,%d})\n|(.*)\n" % (_HEAD, MOST_LINE_BYTES - _MOST_HEAD_BYTES)
)
"""Each line: node, type, stamp and text of a record; or what has to be looked at by itself."""
_NODE = re.compile(rb"node=(\S+) ")

Run = tuple[int, int, list[str], list[bytes]]
"""Records that follow one another with one stamp: wall ns, serial, types, and the text of each."""
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

    def __iter__(self) -> Iterator[Run]:
        """Yield records as they stand in the files."""
        for path in self._files:
            try:
                with _opened(path) as file:
                    yield from self._runs(path.name, file)
            except (OSError, EOFError, zlib.error) as error:
                self.lines += 1
                self.rejected += 1
                self._reject(f"{path.name}: the rest cannot be read: {error}")

    def _runs(self, name: str, file: BinaryIO | gzip.GzipFile) -> Iterator[Run]:
        names, number = _Kinds(), 0
        for block in _blocks(file):
            stamp, wall_ns, serial = b"", 0, 0
            kinds: list[str] = []
            texts: list[bytes] = []
            for node, word, numbers, text, other in _LINES.findall(block):
                number += 1
                if not word:
                    odd = self._odd(name, number, other)
                    if odd is None:
                        continue
                    word, numbers, text = odd  # noqa: PLW2901  (as it should have been found)
                elif node and node != self._node and not self._is_own(name, number, node):
                    continue
                if numbers != stamp:
                    if kinds:
                        yield wall_ns, serial, kinds, texts
                        kinds, texts = [], []
                    wall_ns, serial = _moment(numbers)
                    if wall_ns >= _LATEST_NS:
                        stamp = b""
                        self._not_taken(name, number, "its time is out of range")
                        continue
                    stamp = numbers
                self.lines += 1
                kinds.append(names[word])
                texts.append(text)
            if kinds:
                yield wall_ns, serial, kinds, texts

    def _odd(self, name: str, number: int, line: bytes) -> tuple[bytes, bytes, bytes] | None:
        """Return type, stamp and text of a line that is not like most; None: not taken."""
        if not line.strip():
            return None
        node = _NODE.match(line)
        if node is not None:
            if not self._is_own(name, number, node[1]):
                return None
            line = line[node.end() :]
        found = _LINE.match(line)
        if found is None or len(line) > MOST_LINE_BYTES:
            self._not_taken(name, number, _why_not(line))
            return None
        return found[1], found[2], line[found.end() :]

    def _is_own(self, name: str, number: int, node: bytes) -> bool:
        """Whether a line is of the host that the log is of: the first that it names."""
        if self._node is None:
            self._node = node
        if node != self._node:
            self._not_taken(name, number, f"it is of another host, {_shown(node)}")
        return node == self._node

    def _not_taken(self, name: str, number: int, why: str) -> None:
        self.lines += 1
        self.rejected += 1
        self._reject(f"{name}:{number}: {why}")


class _Kinds(dict[bytes, str]):
    """Names of types, as they came."""

    def __missing__(self, word: bytes) -> str:
        if len(self) >= MOST_KINDS:
            return OTHER_KIND
        kind = self[word] = word.decode("ascii")
        return kind


def _moment(stamp: bytes) -> tuple[int, int]:
    """Return wall ns and serial of a stamp."""
    time, _, serial = stamp.partition(b":")
    return int(time[:-4] + time[-3:]) * 1_000_000, int(serial)


def _blocks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """Yield whole lines, many at once; of one that is too long its beginning, and never all."""
    rest, skips = b"", False
    while block := file.read(_BLOCK_BYTES):
        if skips:
            _, end, block = block.partition(b"\n")
            skips = not end
        whole, end, tail = block.rpartition(b"\n")
        if end:
            yield _lines(b"%b%b\n" % (rest, whole))
            rest = tail
        else:
            rest += tail
        if len(rest) > MOST_LINE_BYTES:
            # Binary rubbish without an end of line: forget it up to the next one.
            yield _lines(rest[: MOST_LINE_BYTES + 2] + b"\n")
            rest, skips = b"", True
    if rest:
        yield _lines(rest + b"\n")


def _lines(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n") if b"\r" in block else block


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
                    return _moment(found[2])
    except (OSError, EOFError, zlib.error):
        pass
    return 1 << 80, 0
