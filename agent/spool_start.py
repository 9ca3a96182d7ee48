"""What a spool finds in its folder when it is opened: its chain, and the batches that are whole."""

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from agent import segments
from agent.shelf import Segment, Shelf
from agent.spool_files import replace_durably, segment_paths
from agent.stages.seal import Link
from chassis import clock

_CHAIN_BYTES = 16


def chain_of(folder: Path) -> tuple[bytes, bool]:
    """Return the id of the chain in `folder`, and whether it is new: there was none.

    Raises:
        OSError: the folder cannot be read or written.
    """
    path = folder / "chain"
    try:
        known = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (FileNotFoundError, ValueError):
        known = b""
    if len(known) == _CHAIN_BYTES:
        return known, False
    # The file is damaged or gone; every batch says of which chain it is.
    for segment in reversed(segment_paths(folder)):
        for record in segments.read(segment):
            known = record.header.chain_id
            if len(known) == _CHAIN_BYTES:
                replace_durably(path, known.hex().encode())
                return known, False
    fresh = secrets.token_bytes(_CHAIN_BYTES)
    replace_durably(path, fresh.hex().encode())
    return fresh, True


@dataclass(slots=True)
class Found:
    """The batches of a chain that are on disk."""

    link: Link
    """The newest of them; number 0: none."""
    shelf: Shelf = field(default_factory=Shelf)
    last_event_ns: int = 0
    """When the newest was sealed, in wall ns."""
    torn_bytes: int = 0
    """Bytes that are no batch and were cut off."""
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """Numbers (first, last) that are missing among the others."""


def find(folder: Path, chain_id: bytes) -> Found:
    """Find the batches of a chain, and cut off what a kill left half-written.

    Raises:
        OSError: a segment cannot be read or cut.
    """
    found = Found(Link(chain_id, 0, b""))
    for path in segment_paths(folder):
        _find_in(path, found)
    return found


def _find_in(path: Path, found: Found) -> None:
    segment, end, newest = Segment(int(path.stem)), 0, None
    last, chain_id = found.link.number, found.link.chain_id
    for record in segments.read(path):
        end, header = record.end, record.header
        number = header.batch_number
        # Chain ids are secret: bytes that somebody else made up are no batch of ours.
        if header.chain_id != chain_id or number <= last or not segment.fits(number, record.offset):
            continue
        expected = last + 1 if last else segment.name
        if number > expected:
            found.damaged.append((expected, number - 1))
        segment.add(header, record.offset)
        last, newest = number, record
    size = path.stat().st_size
    if newest is None:
        found.torn_bytes += size
        path.unlink()
        return
    if size > end:
        found.torn_bytes += size - end
        os.truncate(path, end)
    segment.size_bytes = end
    found.shelf.put(segment)
    found.link = Link(chain_id, last, hashlib.sha256(newest.batch.header).digest())
    found.last_event_ns = clock.from_timestamp(newest.header.sealed_time)
