"""Reads a BPF ring buffer through its memory map, without a call per record.

Layout (kernel ABI): a page with the consumer's position that we write; a page with the producer's
position; the data, mapped twice in a row, so that no record wraps. A record is a u32 of length and
flags, a u32 of the kernel's own, and the payload; all padded to 8 bytes.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import Final

_BUSY: Final = 0x8000_0000
_DISCARDED: Final = 0x4000_0000
_LENGTH: Final = 0x3FFF_FFFF
_HEADER_BYTES: Final = 8
_RELEASE_BYTES: Final = 1 << 16
"""How much is read before the room is given back: writers need it soon, writing it costs time."""

_u32 = struct.Struct("=I").unpack_from
_position = struct.Struct("=Q")


class RingBuffer:
    """The reading end. `size_bytes` is the map's max_entries."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        """Map it."""
        page = mmap.PAGESIZE
        self._mask = size_bytes - 1
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, offset=0)
        self.data = mmap.mmap(
            fd, page + 2 * size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )

    def payload_offsets(self) -> Iterator[int]:
        """Offsets into `data` at which a payload begins.

        A payload may be overwritten once the iterator has moved on.
        """
        data, mask, page = self.data, self._mask, mmap.PAGESIZE
        position = released = _position.unpack_from(self._consumer, 0)[0]
        end = _position.unpack_from(data, 0)[0]  # once: writers may be as fast as we are
        try:
            while position < end:
                offset = page + (position & mask)
                header = _u32(data, offset)[0]
                if header & _BUSY:
                    return
                if not header & _DISCARDED:
                    yield offset + _HEADER_BYTES
                position += _HEADER_BYTES + ((header & _LENGTH) + 7 & ~7)
                if position - released > _RELEASE_BYTES:
                    _position.pack_into(self._consumer, 0, position)
                    released = position
        finally:
            _position.pack_into(self._consumer, 0, position)

    def close(self) -> None:
        """Unmap. Safe to call twice."""
        self._consumer.close()
        self.data.close()
