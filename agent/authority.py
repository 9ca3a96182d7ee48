"""Asks the enrolment program, over TLS that only the authority we know can have made."""

import http.client
import json
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

SERVER_NAME = "enrolment.nightherd"
"""A host's certificate has no such name: who has one cannot pose as the enrolment program."""
TIMEOUT_S = 10.0
MOST_BYTES = 64 << 10


class RefusedError(Exception):
    """The enrolment program says no.

    Attributes:
        reason: why, for programs; "" when it did not say.
        final: asking again in the same way cannot help.
        retry_s: how long it wants us to wait; 0: it did not say.
    """

    def __init__(self, status: int, reason: str, detail: str, retry_s: float) -> None:
        """Keep what was said."""
        super().__init__(f"{status} {reason}: {detail}")
        self.reason, self.retry_s = reason, retry_s
        self.final = status == http.HTTPStatus.FORBIDDEN


def verified(authority: str) -> ssl.SSLContext:
    """Return a context that trusts the authority (PEM) and nobody else.

    Raises:
        ssl.SSLError: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority)
    return context


def ask(
    url: str, path: str, context: ssl.SSLContext, document: dict[str, str] | None = None
) -> bytes:
    """GET `path`, or POST `document` to it; return the answer's body.

    Raises:
        RefusedError: it was refused.
        OSError: nobody answers, or not the one we trust.
        ValueError: what came is no answer, or too long.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    if parts.scheme != "https" or not host:
        raise ValueError("the address of the enrolment program is https://host:port")
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    with (
        socket.create_connection((host, port), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=SERVER_NAME) as secure,
    ):
        connection.sock = secure
        body = None if document is None else json.dumps(document)
        try:
            connection.request(
                "GET" if document is None else "POST",
                path,
                body,
                {"Content-Type": "application/json", "Connection": "close"},
            )
            answer = connection.getresponse()
            content = answer.read(MOST_BYTES + 1)
        except http.client.HTTPException as error:
            raise ValueError(f"no HTTP answer: {error!r}"[:200]) from None
    if len(content) > MOST_BYTES:
        raise ValueError("the answer is too long")
    if answer.status != http.HTTPStatus.OK:
        raise _refusal(answer.status, content, answer.headers.get("Retry-After", ""))
    return content


def fields(content: bytes, *names: str) -> list[str]:
    """Return the fields `names`, all text, of a JSON answer.

    Raises:
        ValueError: they are not there.
    """
    document: Any = json.loads(content)
    if not isinstance(document, dict) or not all(isinstance(document.get(n), str) for n in names):
        raise ValueError(f"the answer lacks one of {', '.join(names)}")
    return [document[name] for name in names]


def _refusal(status: int, content: bytes, retry: str) -> RefusedError:
    try:
        document = json.loads(content)
        reason, detail = str(document.get("reason", "")), str(document.get("detail", ""))
    except (ValueError, AttributeError):
        reason = detail = ""
    retry_s = float(retry) if retry.isascii() and retry.isdecimal() else 0.0
    return RefusedError(status, reason[:64], detail[:300], retry_s)
