"""Segment files: sealed batches one after the other, each with its length and CRC.

A record is MAGIC, length (u32 little endian), CRC-32 of the content (u32), content: one serialised
SealedBatch. A file that was cut anywhere (kill -9, full disk) is read up to its last whole record.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError

from nightherd.event.v1 import delivery_pb2 as pb

MAGIC = b"NHSB"
_HEAD = struct.Struct("<4sII")
MOST_RECORD_BYTES = 16 << 20


class Record(NamedTuple):
    """One batch as it lies in a segment."""

    offset: int
    end: int
    content: bytes
    """A serialised SealedBatch."""

    def batch(self) -> pb.SealedBatch:
        """Parse the content."""
        return pb.SealedBatch.FromString(self.content)

    def header(self) -> pb.BatchHeader:
        """Parse the batch's header."""
        return pb.BatchHeader.FromString(self.batch().header)


def frame(batch: pb.SealedBatch) -> bytes:
    """Return `batch` as a record."""
    content = batch.SerializeToString()
    return _HEAD.pack(MAGIC, len(content), zlib.crc32(content)) + content


def read(path: Path, offset: int = 0) -> Iterator[Record]:
    """Yield whole records from `offset` on; stop at the first that is not whole."""
    with path.open("rb") as file:
        file.seek(offset)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, length, crc = _HEAD.unpack(head)
            if magic != MAGIC or length > MOST_RECORD_BYTES:
                return
            content = file.read(length)
            if len(content) != length or zlib.crc32(content) != crc or not _whole(content):
                return
            end = offset + _HEAD.size + length
            yield Record(offset, end, content)
            offset = end


def _whole(content: bytes) -> bool:
    try:
        pb.BatchHeader.FromString(pb.SealedBatch.FromString(content).header)
    except DecodeError:
        return False
    return True
