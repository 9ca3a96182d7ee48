"""Which contents are known already, so that nothing is hashed, and little told, twice."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from agent.hashing.jobs import Job, Signature
from nightherd.event.v1 import event_pb2 as events

MOST_KNOWN: Final = 8192
MOST_PATH_BYTES: Final = 256
"""Longer ones are known by their hash: whoever chooses them must not choose our memory."""
AGAIN_NS: Final = 86_400_000_000_000
"""Facts of a day that is dropped are told again while the file is still used: once a day."""
_Path = tuple[bytes, int, str]
_Key = Signature | _Path


@dataclass(slots=True)
class _Told:
    sha256: bytes
    refusal: str
    told_ns: int


class Known:
    """The files that were looked at last."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        """Know none; `most` of them at once."""
        self._most = most
        self._told: OrderedDict[_Key, _Told] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._told)

    def __contains__(self, signature: Signature) -> bool:
        """Whether something was told of a file."""
        return signature in self._told

    def note(
        self, job: Job, signature: Signature | None, sha256: bytes, refusal: str, now: int
    ) -> None:
        """Remember what was told of a file at `now` (boot clock)."""
        key = signature or _path(job)
        self._told[key] = _Told(sha256, refusal, now)
        self._told.move_to_end(key)
        while len(self._told) > self._most:
            self._told.popitem(last=False)

    def find(
        self, job: Job, signature: Signature | None, now: int
    ) -> tuple[bytes, str, bool] | None:
        """Return (SHA-256, refusal, whether it is time to tell it again); None: not known."""
        key = signature or _path(job)
        told = self._told.get(key)
        if told is None:
            return None
        self._told.move_to_end(key)
        changed = job.reason == events.FileHash.REASON_CHANGED
        # A file that was changed is told even where its content was known under another name.
        again = now - told.told_ns >= AGAIN_NS or (changed and signature is None)
        if again:
            told.told_ns = now
        return told.sha256, told.refusal, again


def _path(job: Job) -> _Path:
    """Return what tells a file that could not be looked at."""
    container = job.ran.image.container_id if job.ran is not None else ""
    path = job.path if len(job.path) <= MOST_PATH_BYTES else hashlib.sha256(job.path).digest()
    return (path, job.inode, container)
