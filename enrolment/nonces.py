"""Numbers used once: a proof that was overheard cannot be shown again."""

import secrets
import time
from collections.abc import Callable

LIFE_S = 60.0
MOST = 20_000


class Nonces:
    """Nonces that were given out and not used yet; bounded, the oldest goes first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        """None is out; `clock` says seconds that never go back, `most` may be out at once."""
        self._clock, self._most = clock, most
        self._given: dict[str, float] = {}

    def give(self) -> str:
        """Return a fresh nonce, good once within LIFE_S."""
        now = self._clock()
        # In order of age: what is first is oldest.
        while self._given:
            oldest = next(iter(self._given))
            if len(self._given) < self._most and now - self._given[oldest] <= LIFE_S:
                break
            del self._given[oldest]
        nonce = secrets.token_hex(16)
        self._given[nonce] = now
        return nonce

    def take(self, nonce: str) -> bool:
        """Whether `nonce` is in force; it is not any more."""
        given = self._given.pop(nonce, None)
        return given is not None and self._clock() - given <= LIFE_S
