"""The ring buffer's positions, as another core sees them while we write."""

import mmap
import os
import struct
import time

from agent.sensors.ring_buffer import RingBuffer

SIZE = 1 << 16
RECORD = struct.pack("=II", 0, 0)
"""A record without payload."""
BEFORE = (1 << 24) - len(RECORD)
"""A carry through three bytes is ahead: written byte by byte, or after zeros, it would pass through 0."""
AFTER = 1 << 24


def watch(consumer: mmap.mmap, until: float) -> int:
    """Read our position as fast as it goes; the number of readings that nobody meant."""
    wrong, position = 0, memoryview(consumer).cast("Q")
    while time.monotonic() < until:
        for _ in range(1000):
            wrong += position[0] not in (BEFORE, AFTER)
    return wrong


def test_the_kernel_never_reads_half_a_position():
    fd = os.memfd_create("ring")
    os.ftruncate(fd, 2 * mmap.PAGESIZE + SIZE)
    every = mmap.mmap(fd, 2 * mmap.PAGESIZE + SIZE)
    positions = memoryview(every)[: 2 * mmap.PAGESIZE].cast("Q")
    produced = mmap.PAGESIZE // positions.itemsize
    positions[0], positions[produced] = BEFORE, AFTER
    ring = RingBuffer(fd, SIZE)
    until = time.monotonic() + 1
    child = os.fork()
    if child == 0:
        os._exit(min(100, watch(every, until)))
    rounds = 0
    while time.monotonic() < until:
        positions[0] = BEFORE
        assert [offsets for _, offsets in ring.stretches()] == [[8]]
        assert positions[0] == AFTER
        rounds += 1
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert rounds > 1000
    ring.close()
    positions.release()
    every.close()
    os.close(fd)
