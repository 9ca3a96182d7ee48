"""One-time tokens that enrol a host: kept as hashes, one file each, used by renaming the file."""

import datetime as dt
import hashlib
import json
import os
import secrets
from pathlib import Path

from chassis.files import replace
from enrolment.errors import TokenExpiredError, TokenUnknownError, TokenUsedError

FOLDER = "tokens"


class Tokens:
    """The tokens in the authority's folder."""

    def __init__(self, folder: Path) -> None:
        """Keep them below `folder`, the authority's."""
        self._folder = folder / FOLDER

    def make(self, herd: str, life: dt.timedelta, now: dt.datetime) -> str:
        """Return a new token that enrols one host into `herd` until `now` + `life`."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._forget(now)
        token = secrets.token_hex(32)  # never begins with "-": it is typed behind an option
        document = {"herd": herd, "expires": (now + life).isoformat()}
        replace(self._file(token), json.dumps(document).encode())
        if os.geteuid() == 0:  # made by root, read by the user that the program runs as
            owner = self._folder.parent.stat()
            for path in (self._folder, self._file(token)):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        return token

    def use(self, token: str, now: dt.datetime) -> str:
        """Use `token` up and return its herd.

        Raises:
            TokenUnknownError: there is none of that kind.
            TokenUsedError: it was used.
            TokenExpiredError: it was not used in time.
        """
        file = self._file(token)
        used = file.with_suffix(".used")
        try:
            # Of two who come at once, one finds nothing to rename.
            file.rename(used)
        except FileNotFoundError:
            if used.exists():
                raise TokenUsedError(
                    "The token was used; make another: nightherd enrol-token. If it was not used "
                    "by you, revoke the host that it enrolled"
                ) from None
            raise TokenUnknownError(
                "There is no such token; make one: nightherd enrol-token"
            ) from None
        herd, expires = _read(used)
        if now > expires:
            raise TokenExpiredError(
                f"The token was good until {expires:%Y-%m-%d %H:%M} UTC; make another: nightherd "
                "enrol-token"
            )
        return herd

    def _file(self, token: str) -> Path:
        # Who reads the folder finds no token, and what was sent never names a file.
        return self._folder / f"{hashlib.sha256(token.encode()).hexdigest()}.json"

    def _forget(self, now: dt.datetime) -> None:
        """Remove what ended more than a week ago."""
        for path in (*self._folder.glob("*.json"), *self._folder.glob("*.used")):
            try:
                if now - _read(path)[1] > dt.timedelta(days=7):
                    path.unlink(missing_ok=True)
            except (OSError, TokenUnknownError):  # gone, or not ours to judge
                continue


def _read(path: Path) -> tuple[str, dt.datetime]:
    try:
        document = json.loads(path.read_bytes())
        return str(document["herd"]), dt.datetime.fromisoformat(document["expires"])
    except (ValueError, KeyError, TypeError):
        raise TokenUnknownError("The token's file is damaged; make another token") from None
