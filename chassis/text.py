"""Hostile text made harmless at the edges: terminals, JSON, CSV, logs."""

import unicodedata

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Controls, surrogates and format characters (bidi overrides, zero width) can hide or reorder what
# a person reads; unassigned and private characters cannot be read at all.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  (a byte that was not UTF-8)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{{{code:x}}}"


def show(value: bytes | str) -> str:
    r"""Return `value` as text that any sink can carry.

    Bytes that are not UTF-8 and controls become \xNN, other hidden characters \u{N}.

    A backslash stays as it is, so the result is for reading, not for turning back.
    """
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(character) if unicodedata.category(character) in _HIDDEN else character
        for character in text
    )


def csv_cell(value: str) -> str:
    """Return `value` so that no spreadsheet takes it for a formula (a quote is put before it)."""
    return f"'{value}" if value.startswith(_FORMULA) else value
