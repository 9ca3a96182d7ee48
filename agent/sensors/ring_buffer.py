"""Reads a BPF ring buffer through its memory map, without a call per record.

Layout (kernel ABI): a page with the consumer's position that we write; a page with the producer's
position; the data. The kernel would map the data twice in a row, so that no record wraps; we map
it once and join the ends ourselves, since what is mapped counts as our memory. A record is a u32 of
length and flags, a u32 of the kernel's own, and the payload; all padded to 8 bytes.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import Final

_BUSY: Final = 0x8000_0000
_DISCARDED: Final = 0x4000_0000
_LENGTH: Final = 0x3FFF_FFFF
_HEADER_BYTES: Final = 8
_STRETCH_BYTES: Final = 1 << 18
"""How much is read before the room is given back: writers need it soon."""

_u32 = struct.Struct("=I").unpack_from


class RingBuffer:
    """The reading end. `size_bytes` is the map's max_entries."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        """Map it."""
        self._size = size_bytes
        self._consumer = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, offset=0)
        # One load and one store: struct would write zeros first, and the kernel on another core
        # would take that for a full ring and drop a record.
        self._consumed = memoryview(self._consumer).cast("Q")
        self._data = mmap.mmap(
            fd,
            mmap.PAGESIZE + size_bytes,
            mmap.MAP_SHARED,
            mmap.PROT_READ,
            offset=mmap.PAGESIZE,
        )
        self._produced = memoryview(self._data)[: mmap.PAGESIZE].cast("Q")

    def stretches(self) -> Iterator[tuple[bytes, list[int]]]:
        """Yield copies of what was written, with the offsets at which payloads begin in each."""
        position = self._consumed[0]
        end = self._produced[0]  # once: writers may be as fast as we are
        while position < end:
            stretch = self._copy(position, min(end - position, _STRETCH_BYTES))
            offsets, used = _records(stretch)
            if not used:
                return
            position += used
            self._consumed[0] = position
            yield stretch, offsets

    def _copy(self, position: int, length: int) -> bytes:
        start = position % self._size
        first = min(length, self._size - start)
        page = mmap.PAGESIZE
        stretch = self._data[page + start : page + start + first]
        if first < length:
            stretch += self._data[page : page + length - first]
        return stretch

    def close(self) -> None:
        """Unmap. Safe to call twice."""
        self._consumed.release()
        self._produced.release()
        self._consumer.close()
        self._data.close()


def _records(stretch: bytes) -> tuple[list[int], int]:
    """Return where payloads begin in a stretch, and how far its whole records reach."""
    offsets: list[int] = []
    at, size = 0, len(stretch)
    while at + _HEADER_BYTES <= size:
        header = _u32(stretch, at)[0]
        after = at + _HEADER_BYTES + ((header & _LENGTH) + 7 & ~7)
        if header & _BUSY or after > size:
            break
        if not header & _DISCARDED:
            offsets.append(at + _HEADER_BYTES)
        at = after
    return offsets, at
