"""Questions to the gateway from a terminal."""

import base64
import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from cli.homes import Home
from cli.ports import known_port

TIMEOUT_S = 60.0


class RestError(Exception):
    """The gateway did not answer as asked; says why and what to do."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Say why; `status` is that of the answer, 0 when there was none."""
        super().__init__(message)
        self.status = status


class Gateway:
    """The REST API of one gateway."""

    def __init__(self, home: Home, url: str = "", user: str = "admin", password: str = "") -> None:
        """Reach `url` (default: this machine's) as `user`; the password is read from the home."""
        self._base = (url or f"https://localhost:{known_port(home)}").rstrip("/")
        secret = password or os.environ.get("NIGHTHERD_ADMIN_PASSWORD", "")
        if not secret:
            try:
                secret = home.password_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise RestError(
                    f"no password: {home.password_file}: {error.strerror} (is Nightherd up here, "
                    "and may you read it? else set NIGHTHERD_ADMIN_PASSWORD)"
                ) from None
        token = base64.b64encode(f"{user}:{secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "*/*"}
        ca = os.environ.get("NIGHTHERD_CA", str(home.ca / "ca.pem"))
        try:
            self._context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise RestError(f"{ca}: {error.strerror} (set NIGHTHERD_CA)") from None

    def get(self, path: str, /, **query: Any) -> tuple[Any, int]:
        """Return the JSON answer and Total-Count (-1 when there is none).

        Raises:
            RestError: it was refused, or nobody answers.
        """
        with self.open(path, **query) as answer:
            return json.load(answer), int(answer.headers.get("Total-Count") or -1)

    def post(self, path: str, document: Any) -> Any:
        """Send a JSON document; return the JSON answer.

        Raises:
            RestError: it was refused, or nobody answers.
        """
        content = json.dumps(document).encode()
        with self._answered(f"{self._base}/api/v1/{path}", content) as answer:
            return json.load(answer)

    def pages(
        self, path: str, /, *, every: bool, **query: Any
    ) -> Iterator[tuple[list[dict[str, Any]], str]]:
        """Yield (rows, cursor of the next page or ""): the first page, or `every` one.

        Raises:
            RestError: it was refused, or nobody answers.
        """
        cursor = str(query.pop("cursor", "") or "")
        while True:
            with self.open(path, cursor=cursor, **query) as answer:
                rows, cursor = json.load(answer), answer.headers.get("Next-Cursor") or ""
            yield rows, cursor
            if not every or not cursor:
                return

    def open(self, path: str, /, **query: Any) -> Any:
        """Open an answer to read from.

        Raises:
            RestError: it was refused, or nobody answers.
        """
        given = {k: v for k, v in query.items() if v not in (None, "", (), [])}
        url = f"{self._base}/api/v1/{path}"
        if given:
            url += "?" + urllib.parse.urlencode(given, doseq=True)
        return self._answered(url)

    def _answered(self, url: str, content: bytes | None = None) -> Any:
        request = urllib.request.Request(url, content, self._headers)  # noqa: S310  (https only)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise RestError(_problem(error), error.code) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise RestError(
                f"{self._base} does not answer: {reason} (is Nightherd up? `make run`)"
            ) from None


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        document = json.load(error)
        return f"{error.code}: {document.get('detail') or document.get('title')}"
    except (ValueError, AttributeError):
        return f"{error.code}: {error.reason}"


def fail(message: object, status: int = 1) -> None:
    """Say why and end."""
    print(f"nightherd: {message}", file=sys.stderr)
    raise SystemExit(status)
