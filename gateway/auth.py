"""Who asks: HTTP Basic and bearer tokens, argon2id, lockout, roles."""

import asyncio
import base64
import binascii
import datetime as dt
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Request

from gateway.problems import ProblemError
from gateway.repository import Deed, Repository, User
from gateway.settings import Settings

# m=19 MiB, t=2, p=1: OWASP's second choice; the default costs 64 MiB a request.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_CACHE_S, _CACHE_MOST = 60.0, 1000
_ALGORITHM = "HS256"
MOST_PASSWORD = 1024
WRITERS = frozenset({"admin", "operator"})
ROLES = WRITERS | {"auditor", "devSecOps"}
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who proved who they are."""

    name: str
    role: str


class Authentication:
    """Checks credentials."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        """Check against `repository`."""
        self._repository, self._settings = repository, settings
        # Two at a time: a check costs 30 ms of CPU and 19 MiB, and anybody can ask for one.
        self._pool = ThreadPoolExecutor(2, "argon2")
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._key = b""
        # Unknown users cost the same as known ones.
        self._nobody = _HASHER.hash(secrets.token_hex(16))

    async def prepare(self) -> None:
        """Load the key; make or update the user admin when a password is given."""
        self._key = await self._repository.token_key()
        password = self._settings.admin_password.get_secret_value()
        if not password:
            return
        known = await self._repository.user(ADMIN)
        if known is None or not await self._matches(known.password_hash, password):
            hashed = await asyncio.get_running_loop().run_in_executor(
                self._pool, _HASHER.hash, password
            )
            await self._repository.put_user(User(ADMIN, "admin", hashed))

    def close(self) -> None:
        """End the pool."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def caller(self, request: Request) -> Caller:
        """Return who asks.

        Raises:
            ProblemError: 401 without good credentials, 429 when locked out.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(value.strip())
        if scheme.lower() == "basic":
            name, password = _basic(value.strip())
            return await self.check(name, password, address_of(request))
        raise ProblemError(401, "Credentials are needed: HTTP Basic, or a bearer token")

    async def check(self, name: str, password: str, address: str) -> Caller:
        """Return the user with this password.

        Raises:
            ProblemError: 401 wrong, 429 locked out.
        """
        who = hashlib.sha256(f"{name}\0{address}".encode()).hexdigest()
        cached = hmac.digest(self._secret, f"{name}\0{password}".encode(), "sha256")
        if (found := self._known.get(cached)) and found[0] > time.monotonic():
            return found[1]
        count, until = await self._repository.failures(who)
        if until is not None and count >= self._settings.lockout_failures:
            left = max(1, int((until - dt.datetime.now(dt.UTC)).total_seconds()))
            raise ProblemError(
                429,
                f"Too many wrong passwords; try again in {left} s",
                Retry_After=str(left),
            )
        user = await self._repository.user(name) if len(name) <= MOST_PASSWORD else None
        hashed = user.password_hash if user is not None else self._nobody
        right = len(password) <= MOST_PASSWORD and await self._matches(hashed, password)
        if user is None or not right:
            await self._repository.failed(who, self._settings.lockout_seconds)
            await self._repository.record(
                Deed(name, "login", address, "authenticate", 401, "refused")
            )
            raise ProblemError(401, "User or password is wrong")
        if count:
            await self._repository.succeeded(who)
        caller = Caller(user.name, user.role)
        self._known[cached] = (time.monotonic() + _CACHE_S, caller)
        while len(self._known) > _CACHE_MOST:
            self._known.popitem(last=False)
        return caller

    async def _matches(self, hashed: str, password: str) -> bool:
        def verify() -> bool:
            try:
                return _HASHER.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

        return await asyncio.get_running_loop().run_in_executor(self._pool, verify)

    def token(self, caller: Caller) -> str:
        """Return a bearer token for `caller` (clients expect the shape of a JWT)."""
        now = int(time.time())
        claims = {
            "sub": caller.name,
            "role": caller.role,
            "iat": now,
            "exp": now + self._settings.token_minutes * 60,
            "jti": secrets.token_hex(8),
            "iss": "nightherd",
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def _bearer(self, token: str) -> Caller:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer="nightherd",
                options={"require": ["exp", "sub", "iss"]},
            )
        except jwt.InvalidTokenError:
            raise ProblemError(
                401, "The token is not good or no longer good: log in again"
            ) from None
        role = claims.get("role")
        if role not in ROLES:
            raise ProblemError(401, "The token names no role")
        return Caller(str(claims["sub"]), role)


def _basic(value: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise ProblemError(401, "The Basic credentials cannot be read") from None
    name, colon, password = text.partition(":")
    if not colon:
        raise ProblemError(401, "The Basic credentials cannot be read")
    return name, password


def address_of(request: Request) -> str:
    """Return the address a request came from."""
    return request.client.host if request.client else ""


async def reader(request: Request) -> Caller:
    """Dependency: anybody with good credentials."""
    authentication: Authentication = request.app.state.authentication
    caller = await authentication.caller(request)
    request.state.caller = caller
    return caller


async def writer(request: Request) -> Caller:
    """Dependency: somebody who may change things; what they do is written down.

    Raises:
        ProblemError: 403 for roles that only read.
    """
    caller = await reader(request)
    if caller.role not in WRITERS:
        raise ProblemError(403, f"Role {caller.role} may read, not change")
    return caller
