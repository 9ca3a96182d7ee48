"""Fairness: a service that says too much is cut short, so that the rest is still heard.

Each service, and each session of a person, may say so many events a second, and save up some for a
burst. What is urgent (sensitive files, accounts, logins, people at work) always passes. What does
not pass is counted, and told as a gap that names who was cut short.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nightherd.event.v1 import event_pb2 as events

BURST_S = 10
"""How many seconds' worth may be saved up."""
TELL_NS = 5_000_000_000
"""How often an ongoing loss is told."""
MOST_SPEAKERS = 10_000


@dataclass(slots=True)
class Loss:
    """What one speaker was not let say."""

    service: str
    """"" for a session."""
    who: str
    since_ns: int
    """Boot clock."""
    until_ns: int
    count: int = 0


class Budgets:
    """One budget for each service and each session."""

    def __init__(self, events_per_second: int) -> None:
        """Let each say so many events a second; 0: no limit."""
        self._per_second = events_per_second
        self._burst = events_per_second * BURST_S
        self._left: dict[str, float] = {}
        """What those who spoke lately may still say; all others may say a whole burst."""
        self._losses: dict[str, Loss] = {}
        self._refilled_ns = 0

    def take(self, image: events.Image, boot_ns: int) -> bool:
        """Say whether an event of `image` passes; count it if not."""
        if not self._per_second:
            return True
        who = image.service or f"session {image.session_id} of {image.login_user or image.user}"
        left = self._left.get(who)
        if left is None:
            if len(self._left) >= MOST_SPEAKERS:
                return True
            left = self._burst
        if left >= 1:
            self._left[who] = left - 1
            return True
        loss = self._losses.get(who)
        if loss is None:
            loss = self._losses[who] = Loss(image.service, who, boot_ns, boot_ns)
        loss.count += 1
        loss.until_ns = boot_ns
        return False

    def refill(self, boot_ns: int) -> None:
        """Give everybody what the time since the last call is worth."""
        earned = (boot_ns - self._refilled_ns) * self._per_second / 1_000_000_000
        self._refilled_ns = boot_ns
        for who, left in list(self._left.items()):
            if left + earned >= self._burst:
                del self._left[who]
            else:
                self._left[who] = left + earned

    def losses(self, boot_ns: int, *, all_of_them: bool = False) -> Iterator[Loss]:
        """Yield and forget losses that have gone on for long enough to be told."""
        for who, loss in list(self._losses.items()):
            if all_of_them or boot_ns - loss.since_ns >= TELL_NS:
                del self._losses[who]
                yield loss
