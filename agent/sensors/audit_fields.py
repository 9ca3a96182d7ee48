"""The fields of an audit record's text. Never raises, whatever the bytes.

User-space messages wrap their own fields in msg='…'; those count as the record's fields too. Some
values have spaces (op=adding user). A string the kernel does not trust is "quoted", or hexadecimal
when it has a quote, a space or a byte outside ASCII in it. auditd's enriched logs append names
after 0x1D (AUID="alice").

References: audit_logging and auparse of https://github.com/linux-audit/audit-userspace
"""

import re
from typing import Final

_FIELD = re.compile(rb"""([A-Za-z_][\w\[\]-]*)=("[^"]*"|'[^']*'|\S*(?: (?![\w-]+=)\S+)*)""")
_MESSAGE = re.compile(rb"(?:^| )msg='(.*?)'?\s*(?:\x1d|$)", re.DOTALL)
_HEX = re.compile(rb"(?:[0-9A-F]{2})+")
_ARGUMENT = re.compile(r"a\d+(?:\[\d+\])?")
_NOTHING: Final = (b"?", b"(null)", b"(none)")
_UNTRUSTED: Final = frozenset(
    (
        "acct",
        "cmd",
        "comm",
        "cwd",
        "data",
        "dir",
        "exe",
        "file",
        "grp",
        "id_name",
        "invalid_context",
        "key",
        "name",
        "new_group",
        "path",
        "proctitle",
        "sw",
        "unit",
        "vm",
        "watch",
    )
)
"""Fields the format writes in hexadecimal when their text needs it."""


def text_of(raw: bytes) -> bytes:
    """A string that the format does not trust, as it was: without quotes or hexadecimal."""
    if raw[:1] in (b'"', b"'"):
        return raw[1:-1] if len(raw) > 1 and raw[-1:] == raw[:1] else raw[1:]
    if _HEX.fullmatch(raw):
        return bytes.fromhex(raw.decode("ascii"))
    return b"" if raw in _NOTHING else raw


def _value(kind: str, name: str, raw: bytes) -> bytes:
    if name in _UNTRUSTED or (kind == "EXECVE" and _ARGUMENT.fullmatch(name)):
        return text_of(raw)
    if raw[:1] in (b'"', b"'"):
        return raw[1:-1] if len(raw) > 1 and raw[-1:] == raw[:1] else raw[1:]
    return b"" if raw in _NOTHING else raw


def _read(kind: str, text: bytes, fields: dict[str, bytes]) -> None:
    for match in _FIELD.finditer(text):
        name = match[1].decode("ascii", "replace")
        if name not in fields:
            fields[name] = _value(kind, name, match[2])


def read(kind: str, text: bytes) -> dict[str, bytes]:
    """The fields of a record of `kind`, decoded.

    What is no field is dropped, so a broken record has few fields or none. Of a field given twice
    the first counts; a message's own fields come after those the kernel wrote, which it cannot
    overrule.
    """
    fields: dict[str, bytes] = {}
    message = _MESSAGE.search(text)
    if message:
        _read(kind, text[: message.start()], fields)
        _read(kind, message[1], fields)
        _read(kind, text[message.end() :], fields)
    else:
        _read(kind, text, fields)
    return fields
