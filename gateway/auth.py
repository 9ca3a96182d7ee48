"""Who asks: HTTP Basic and bearer tokens, lockout, roles."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict

import structlog
from fastapi import Request

from chassis.counters import Counter
from gateway.passwords import MOST_CHARACTERS, Passwords
from gateway.problems import ProblemError
from gateway.repository import Deed, Repository, User
from gateway.settings import Settings
from gateway.tokens import Tokens

log = structlog.get_logger()
logins_total = Counter("nightherd_gateway_logins", "Passwords that were checked", ["outcome"])

_CACHE_S, _CACHE_MOST = 60.0, 1000
ADMIN = "admin"
WRITERS = frozenset({"admin", "operator"})
OVERSEERS = WRITERS | {"auditor"}
READERS = OVERSEERS | {"devSecOps", "defenderManager"}
# The contract's other roles may log in; nothing that is served is theirs to see.
ROLES = READERS | {"vulnerabilityManager", "devOps", "user", "ci"}


class Authentication:
    """Checks credentials."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        """Check against `repository`."""
        self._repository, self._settings = repository, settings
        self._passwords = Passwords()
        self.tokens = Tokens(repository, settings.token_minutes)
        self.ready = False
        # Known credentials by HMAC under a secret of this process: no password stays in memory.
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[float, User]] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[User]] = {}

    async def prepare(self) -> None:
        """Load the key; make the user admin, or give it the password of the settings.

        Raises:
            OSError: the password's file cannot be read.
        """
        await self.tokens.prepare()
        password = self._settings.first_password()
        known = await self._repository.user(ADMIN)
        if not password:
            if known is None:
                log.warning("no user admin: set NIGHTHERD_ADMIN_PASSWORD")
        elif known is None or not await self._passwords.matches(known.password_hash, password):
            hashed = await self._passwords.hash(password)
            await self._repository.put_user(User(ADMIN, "admin", hashed))
        self.ready = True

    def close(self) -> None:
        """End what runs."""
        for task in self._checking.values():
            task.cancel()
        self._passwords.close()

    async def user(self, request: Request) -> User:
        """Return who asks.

        Raises:
            ProblemError: 401 without good credentials, 429 locked out, 503 not ready yet.
        """
        if not self.ready:
            raise ProblemError(503, "The gateway's database does not answer yet; try again")
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self.tokens.user(value.strip())
        if scheme.lower() == "basic":
            name, password = _basic(value.strip())
            return await self.check(name, password, address_of(request))
        raise ProblemError(401, "Credentials are needed: HTTP Basic, or a bearer token")

    async def check(self, name: str, password: str, address: str) -> User:
        """Return the user with this password.

        Raises:
            ProblemError: 401 wrong, 429 locked out, 503 too many log in at once.
        """
        if not self.ready:
            raise ProblemError(503, "The gateway's database does not answer yet; try again")
        digest = hmac.digest(self._secret, f"{name}\0{password}".encode(), hashlib.sha256)
        known = self._known.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        # Clients send the same credentials with many requests at once: one check serves them all.
        task = self._checking.get(digest)
        if task is None:
            task = asyncio.create_task(self._checked(name, password, address, digest))
            self._checking[digest] = task
            task.add_done_callback(lambda _: self._checking.pop(digest, None))
        return await asyncio.shield(task)

    async def _checked(self, name: str, password: str, address: str, digest: bytes) -> User:
        who = hashlib.sha256(f"{name}\0{address}".encode()).hexdigest()
        # Counted before it is known: guesses sent side by side count too.
        tries, left_s = await self._repository.attempt(who, self._settings.lockout_seconds)
        if tries > self._settings.lockout_failures:
            logins_total.labels("locked out").inc()
            text = (
                f"Too many wrong passwords of {name[:60]} from {address}; try again in {left_s} s"
            )
            raise ProblemError(429, text, Retry_After=str(left_s))
        user = await self._repository.user(name) if len(name) <= MOST_CHARACTERS else None
        right = await self._passwords.matches(user.password_hash if user else None, password)
        if user is None or not right:
            logins_total.labels("wrong").inc()
            await self._repository.record(Deed(name, "login", address, "authenticate", 401))
            raise ProblemError(401, "User or password is wrong")
        await self._repository.forget_attempts(who)
        logins_total.labels("right").inc()
        self._known[digest] = (time.monotonic() + _CACHE_S, user)
        while len(self._known) > _CACHE_MOST:
            self._known.popitem(last=False)
        return user


def _basic(value: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise ProblemError(401, "The Basic credentials cannot be read") from None
    name, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise ProblemError(401, "The Basic credentials cannot be read")
    return name, password


def address_of(request: Request) -> str:
    """Return the address a request came from."""
    return request.client.host if request.client else ""


class Needs:
    """Dependency: somebody with one of the roles; the only place where roles are checked."""

    def __init__(self, roles: frozenset[str]) -> None:
        """Let `roles` pass."""
        self._roles = roles

    async def __call__(self, request: Request) -> User:
        """Return who asks.

        Raises:
            ProblemError: 401 nobody known, 403 somebody without the role.
        """
        authentication: Authentication = request.app.state.authentication
        user = await authentication.user(request)
        request.state.user = user
        if user.role not in self._roles:
            raise ProblemError(403, f"Role {user.role} may not do this")
        return user


reader, writer = Needs(READERS), Needs(WRITERS)
administrator = Needs(frozenset({ADMIN}))
overseer, anybody = Needs(OVERSEERS), Needs(ROLES)
