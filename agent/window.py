"""What a receiver takes: how many batches under way, how many a second, how large."""

import asyncio
import time

from chassis.channel import MAX_MESSAGE_BYTES
from nightherd.event.v1 import delivery_pb2 as pb

DEFAULT_WINDOW, DEFAULT_PER_SECOND, DEFAULT_BODY_BYTES = 8, 200, 4 << 20
MOST_MESSAGE_BYTES = MAX_MESSAGE_BYTES - (1 << 10)
"""A batch in a message; what stands around it is small."""


class Window:
    """Keeps one stream within the limits of its Welcome."""

    def __init__(self, limits: pb.Limits) -> None:
        """Obey `limits`; what is not said, or makes no sense, is the default."""
        self._most = _or(limits.window, DEFAULT_WINDOW)
        self._gap_s = 1 / _or(limits.batches_per_second, DEFAULT_PER_SECOND)
        self._body_bytes = _or(limits.body_size_bytes, DEFAULT_BODY_BYTES)
        self._under_way: list[int] = []
        self._left = asyncio.Event()
        self._due_s = 0.0

    async def enter(self, number: int) -> None:
        """Wait until one more batch may be sent."""
        while len(self._under_way) >= self._most:
            self._left.clear()
            await self._left.wait()
        now = time.monotonic()
        # A second's worth may go at once.
        self._due_s = max(self._due_s, now - 1) + self._gap_s
        if self._due_s > now:
            await asyncio.sleep(self._due_s - now)
        self._under_way.append(number)

    def leave(self, through: int) -> None:
        """Batches through `through` are settled."""
        self._under_way = [number for number in self._under_way if number > through]
        self._left.set()

    def too_large(self, batch: pb.SealedBatch) -> int | None:
        """Return how many events a batch has that is larger than is taken; None: it is not."""
        header = pb.BatchHeader.FromString(batch.header)
        # A frame of what cannot be compressed is larger than what is in it.
        body_bytes = max(header.body_size_bytes, len(batch.body))
        too_large = body_bytes > self._body_bytes or batch.ByteSize() > MOST_MESSAGE_BYTES
        return header.event_count if too_large else None


def _or(value: int, default: int) -> int:
    return value if value > 0 else default
