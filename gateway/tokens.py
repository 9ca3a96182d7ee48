"""Bearer tokens: JWTs (clients look into them), good for minutes, revocable."""

import datetime as dt
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from typing import Any

import jwt

from gateway.problems import ProblemError
from gateway.repository import Repository, User

_ALGORITHM, _ISSUER = "HS256", "nightherd"
# How long a token that was looked up is taken without looking again.
_TRUSTED_S, _TRUSTED_MOST = 5.0, 1000
_REFUSED = "The token is not good, or no longer: log in again"


class Tokens:
    """Issues and reads tokens; the key is in MongoDB, the same for all gateways."""

    def __init__(self, repository: Repository, minutes: int) -> None:
        """Issue tokens that are good for `minutes`."""
        self._repository, self._minutes = repository, minutes
        self._key = b""
        self._trusted: OrderedDict[str, tuple[float, User]] = OrderedDict()

    async def prepare(self) -> None:
        """Load the key."""
        self._key = await self._repository.token_key()

    def issue(self, user: User) -> str:
        """Return a token for `user`."""
        now = int(time.time())
        claims = {
            "sub": user.name,
            "role": user.role,
            "iat": now,
            "exp": now + self._minutes * 60,
            "jti": secrets.token_hex(16),
            "iss": _ISSUER,
            "gen": self._generation(user),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    async def user(self, token: str) -> User:
        """Return whose token it is.

        Raises:
            ProblemError: 401; forged, expired, revoked, or its user or password is gone.
        """
        claims = self._claims(token)
        name, identifier = str(claims["sub"]), str(claims["jti"])
        known = self._trusted.get(identifier)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        user = await self._repository.user(name)
        if user is None or await self._repository.is_revoked(identifier):
            raise ProblemError(401, _REFUSED)
        if not hmac.compare_digest(str(claims.get("gen", "")), self._generation(user)):
            raise ProblemError(401, _REFUSED)
        self._trusted[identifier] = (time.monotonic() + _TRUSTED_S, user)
        while len(self._trusted) > _TRUSTED_MOST:
            self._trusted.popitem(last=False)
        return user

    async def revoke(self, token: str) -> None:
        """Let a token be good no longer (other gateways may take it for some seconds more).

        Raises:
            ProblemError: 401; it is not good as it is.
        """
        claims = self._claims(token)
        expires = dt.datetime.fromtimestamp(claims["exp"], dt.UTC)
        await self._repository.revoke(str(claims["jti"]), expires)
        self._trusted.pop(str(claims["jti"]), None)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                options={"require": ["exp", "sub", "iss", "jti"]},
            )
        except (jwt.InvalidTokenError, ValueError):
            raise ProblemError(401, _REFUSED) from None
        return claims

    def _generation(self, user: User) -> str:
        """Changes with the password, so that a new password ends old tokens."""
        return hmac.digest(self._key, user.password_hash.encode(), hashlib.sha256).hex()[:16]
