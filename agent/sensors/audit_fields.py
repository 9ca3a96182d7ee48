"""The fields of an audit record's text. Never raises, whatever the bytes.

User-space messages wrap their own fields in msg='…'; those count as the record's fields too. Some
values have spaces (op=adding user). A string the kernel does not trust is "quoted", or hexadecimal
when it has a quote, a space or a byte outside ASCII in it. auditd's enriched logs append names
after 0x1D (AUID="alice").

References: audit_logging and auparse of https://github.com/linux-audit/audit-userspace
"""

import re
from typing import Final

from agent.sensors.audit_forms import Form, Forms

_FIELD = re.compile(
    rb"""([A-Za-z_][\w\[\]-]*)=("[^"]*"|'[^']*'|[^\s\x1d]*(?: (?![\w-]+=)[^\s\x1d]+)*)"""
)
_MESSAGE: Final = b"msg='"
_HEX = re.compile(rb"(?:[0-9A-F]{2})+")
_ARGUMENT = re.compile(r"a\d+(?:\[\d+\])?")
_OF_ARGUMENTS: Final = "EXECVE"
_LOGIN: Final = "LOGIN"
_BEFORE_AND_NOW = re.compile(rb"\b(old|new) (auid|ses)=")
"""As kernels before 3.14 write LOGIN."""
_OLD_MESSAGE = re.compile(rb" ?: (exe=[^()=]{1,4096}) \((hostname=[^()]{0,1024})\)")
"""As RHEL 5 writes what user space says: `… : exe="/usr/sbin/sshd" (hostname=…, addr=…, …)`."""
_QUOTES: Final = (b'"', b"'")
_NOTHING: Final = (b"?", b"(null)", b"(none)")
UNTRUSTED: Final = frozenset(
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
_FORMS: Final = Forms()


def _unquoted(raw: bytes) -> bytes:
    return raw[1:-1] if len(raw) > 1 and raw[-1:] == raw[:1] else raw[1:]


def text_of(raw: bytes) -> bytes:
    """A string that the format does not trust, as it was: without quotes or hexadecimal."""
    if raw[:1] in _QUOTES:
        return _unquoted(raw)
    if _HEX.fullmatch(raw):
        return bytes.fromhex(raw.decode("ascii"))
    return b"" if raw in _NOTHING else raw


def read(kind: str, text: bytes) -> dict[str, bytes]:
    """The fields of a record of `kind`, decoded.

    What is no field is dropped, so a broken record has few fields or none. Of a field given twice
    the first counts; a message's own fields come after those the kernel wrote, which it cannot
    overrule.
    """
    for form in _FORMS.of(kind, text):
        fields = in_form(form, text)
        if fields is not None:
            return fields
    if kind != _OF_ARGUMENTS:
        _FORMS.missed(kind, text, UNTRUSTED)
    return read_one_by_one(kind, text)


def in_form(form: Form, text: bytes) -> dict[str, bytes] | None:
    """The fields of a text that has a form; None when it has not."""
    found = form.match(text)
    if found is None:
        return None
    fields = form.empty.copy()
    fields.update(zip(form.names, found.groups()))  # noqa: B905  (a group for each name)
    for name in form.encoded:
        fields[name] = text_of(fields[name])
    return fields


def read_one_by_one(kind: str, text: bytes) -> dict[str, bytes]:
    """As `read`, whatever the form."""
    begin = text.find(_MESSAGE)
    if begin >= 0:
        own, separator, names = text[begin + len(_MESSAGE) :].partition(b"\x1d")
        text = b"%b %b%b%b" % (text[:begin], own.rstrip(b" ").removesuffix(b"'"), separator, names)
        if b"(hostname=" in text:
            text = _OLD_MESSAGE.sub(_as_since, text, count=1)
    elif kind == _LOGIN:
        text = _BEFORE_AND_NOW.sub(_joined, text)
    fields: dict[str, bytes] = {}
    for word, raw in _FIELD.findall(text):
        name = word.decode("ascii")
        if name in fields:
            continue
        if name in UNTRUSTED or (kind == _OF_ARGUMENTS and _ARGUMENT.fullmatch(name)):
            fields[name] = text_of(raw)
        elif raw[:1] in _QUOTES:
            fields[name] = _unquoted(raw)
        else:
            fields[name] = b"" if raw in _NOTHING else raw
    return fields


def _as_since(found: "re.Match[bytes]") -> bytes:
    return b" %b %b" % (found[1], found[2].replace(b", ", b" "))


def _joined(found: "re.Match[bytes]") -> bytes:
    return (b"old-%b=" if found[1] == b"old" else b"%b=") % found[2]
