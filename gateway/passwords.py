"""Passwords: argon2id, a few at a time."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.problems import ProblemError

# m=19 MiB, t=2, p=1: OWASP's second choice; the library's default costs 64 MiB a request.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# A check costs 30 ms of CPU and 19 MiB, and anybody can ask for one.
_AT_ONCE, _MOST_WAITING = 2, 64
MOST_CHARACTERS = 1024

Some = TypeVar("Some")


class Passwords:
    """Hashes and checks passwords in threads of their own."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._pool = ThreadPoolExecutor(_AT_ONCE, "argon2")
        self._waiting = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        return await self._in_turn(lambda: _HASHER.hash(password))

    async def matches(self, hashed: str | None, password: str) -> bool:
        """Whether `password` belongs to `hashed`; None (an unknown user) costs the same time.

        Raises:
            ProblemError: 503 when too many wait already.
        """
        if not self._nobody:
            self._nobody = await self.hash(secrets.token_hex(16))
        against = hashed or self._nobody
        fits = len(password) <= MOST_CHARACTERS
        right = await self._in_turn(lambda: _verify(against, password if fits else ""))
        return right and fits and hashed is not None

    async def _in_turn(self, work: Callable[[], Some]) -> Some:
        if self._waiting >= _MOST_WAITING:
            raise ProblemError(503, "Too many log in at once; try again", Retry_After="1")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _verify(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
