"""Signed lists of chain heads: what a store vouched for at a time, so that it cannot take it back.

JSON lines. Each has time, heads ({host, chain, number, hash}) that changed since the line before,
previous (SHA-256 of the line before, hex), key (public Ed25519 key, hex) and signature (hex) over
the line without it. docs/custody.md says what it proves.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_FAULTS = 100
_HASH = re.compile(r"[0-9a-f]{64}")
_CHAIN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Head:
    """The last batch of a chain."""

    host: str
    chain: str
    """Hex."""
    number: int
    hash: str
    """Hex."""


def _signed(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def line(time: str, heads: Iterable[Head], previous: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return a signed line, newline included; `previous` is the line before, b"" for the first."""
    document: dict[str, Any] = {
        "time": time,
        "heads": [asdict(head) for head in heads],
        "previous": digest(previous),
        "key": key.public_key().public_bytes_raw().hex(),
    }
    document["signature"] = key.sign(_signed(document)).hex()
    return orjson.dumps(document) + b"\n"


def digest(content: bytes) -> str:
    """Return the hash of a line, its newline left out; empty for none."""
    return hashlib.sha256(content.rstrip(b"\n")).hexdigest() if content else ""


@dataclass(slots=True)
class ListCheck:
    """Reads a list line by line. Feed it with `see`, then read the result."""

    key: bytes
    """Public key that has to have signed."""
    lines: int = 0
    first_time: str = ""
    last_time: str = ""
    heads: dict[tuple[str, str], Head] = field(default_factory=dict)
    """The latest head of each chain."""
    faults: list[str] = field(default_factory=list)
    _before: bytes = b""

    def see(self, content: bytes) -> None:
        """Check the next line against all before it."""
        self.lines += 1
        try:
            self._see(content)
        except ValueError as error:
            self._fault(str(error))
        self._before = content

    def _see(self, content: bytes) -> None:
        document = _parsed(content)
        time, heads = _said(document)
        signature = bytes.fromhex(str(document.pop("signature", "")))
        if document.get("key") != self.key.hex():
            raise ValueError("it was signed with another key")
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, _signed(document))
        except InvalidSignature:
            raise ValueError("its signature is wrong") from None
        if document.get("previous") != digest(self._before):
            self._fault("it does not continue the line before: lines are missing or were changed")
        if time < self.last_time:
            self._fault("it is older than the line before: the clock was set back")
        self.first_time, self.last_time = self.first_time or time, time
        for head in heads:
            before = self.heads.get((head.host, head.chain))
            if before is not None and (
                head.number < before.number
                or (head.number == before.number and head.hash != before.hash)
            ):
                self._fault(f"chain {head.chain} of {head.host} went back to {head.number}")
                continue
            self.heads[head.host, head.chain] = head

    def _fault(self, text: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"line {self.lines}: {text}")


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ValueError("it is no JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  (what a file says)
    return document


def _said(document: dict[str, Any]) -> tuple[str, Sequence[Head]]:
    time, heads = document.get("time"), document.get("heads")
    if not isinstance(time, str) or not isinstance(heads, list):
        raise ValueError("it lacks time or heads")  # noqa: TRY004  (what a file says)
    return time, [_head(one) for one in heads]


def _head(one: Any) -> Head:
    wrong = ValueError("a head lacks host, chain, number or hash")
    if not isinstance(one, dict) or set(one) != {"host", "chain", "number", "hash"}:
        raise wrong
    texts = [one[name] for name in ("host", "chain", "hash")]
    if not all(isinstance(text, str) for text in texts) or type(one["number"]) is not int:
        raise wrong
    if not (_CHAIN.fullmatch(one["chain"]) and _HASH.fullmatch(one["hash"])):
        raise wrong
    return Head(**one)
