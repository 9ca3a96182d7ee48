"""Segment files: sealed batches one after the other, each with its length and CRC.

A record is MAGIC, length (u32 little endian), CRC-32 of the content (u32), content: one serialised
SealedBatch. A file that was cut anywhere (kill -9, full disk) is read up to its last whole record;
damage in the middle costs the records it touches, and no more.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from google.protobuf.message import DecodeError

from nightherd.event.v1 import delivery_pb2 as pb

MAGIC = b"NHSB"
_HEAD = struct.Struct("<4sII")
MOST_RECORD_BYTES = 16 << 20
MOST_SEARCHED_BYTES = 64 << 20
"""How much of a file is looked at twice, in search of whole records after damage."""
_CHUNK_BYTES = 256 << 10


class Record(NamedTuple):
    """One batch as it lies in a segment."""

    offset: int
    end: int
    batch: pb.SealedBatch
    header: pb.BatchHeader


def frame(batch: pb.SealedBatch) -> bytes:
    """Return `batch` as a record."""
    content = batch.SerializeToString()
    return _HEAD.pack(MAGIC, len(content), zlib.crc32(content)) + content


def read(path: Path, most_searched_bytes: int = MOST_SEARCHED_BYTES) -> Iterator[Record]:
    """Yield the whole records of a file, in order.

    What is no record is passed over: then a record's offset is not the end of the one before, or
    the file is longer than the end of the last.
    """
    with path.open("rb", buffering=_CHUNK_BYTES) as file:
        size, offset, searched = path.stat().st_size, 0, 0
        while offset < size and searched <= most_searched_bytes:
            found = _next(file, offset, size)
            if isinstance(found, Record):
                yield found
                offset = found.end
                continue
            searched += found
            offset = _next_magic(file, offset + 1)
            if not offset:
                return
            file.seek(offset)


def read_at(path: Path, offset: int) -> Record | None:
    """Return the record at `offset`; None when none is there, or it is damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        found = _next(file, offset, path.stat().st_size)
        return found if isinstance(found, Record) else None


def _next(file: BinaryIO, offset: int, size: int) -> Record | int:
    """Return the record at `offset`, where `file` stands; else how many bytes were read."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return len(head)
    magic, length, crc = _HEAD.unpack(head)
    end: int = offset + _HEAD.size + length
    if magic != MAGIC or length > MOST_RECORD_BYTES or end > size:
        return _HEAD.size
    content = file.read(length)
    if len(content) == length and zlib.crc32(content) == crc:
        try:
            batch = pb.SealedBatch.FromString(content)
            return Record(offset, end, batch, pb.BatchHeader.FromString(batch.header))
        except DecodeError:
            pass
    return _HEAD.size + len(content)


def _next_magic(file: BinaryIO, offset: int) -> int:
    """Return where MAGIC comes next, from `offset` on; 0: nowhere."""
    file.seek(offset)
    chunk = b""
    while more := file.read(_CHUNK_BYTES):
        chunk = chunk[-len(MAGIC) + 1 :] + more
        place = chunk.find(MAGIC)
        if place >= 0:
            return file.tell() - len(chunk) + place
    return 0
