r"""Text that is looked for whatever its case, and what of it must lie in the bytes searched.

What is searched is text as it is shown: bytes that are not UTF-8 are \xNN there, hidden characters
\u{N}. The bytes hold neither, so words that may touch such an escape are no safe words.
"""

import re

_SAFE_RUN = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII without the backslash."""
_TAIL = re.compile(r"(?:u?\{?[0-9a-f]{0,6}\}|x?[0-9a-f]{1,2})")
"""What may be the rest of an escape that began before."""
_WITHIN = re.compile(r"(?:u?\{?[0-9a-f]{0,6}|x[0-9a-f]{0,2})")
"""What may lie within an escape as a whole."""


def fold(text: str) -> str:
    """Return `text` without its case, character by character.

    A character outside ASCII that would become one inside (the Kelvin sign a "k", the long s an
    "s") stays: so ASCII in the result is ASCII in the text, and in its bytes.
    """
    if text.isascii():
        return text.lower()
    return "".join(map(_fold, text))


def _fold(character: str) -> str:
    folded = character.casefold()
    if character.isascii() or not any(each.isascii() for each in folded):
        return folded
    return character


def literals(search: str) -> list[bytes]:
    """Return lower-case words that any arguments that match `search` hold, within one argument.

    Arguments are joined by spaces: a word without a space lies within one.
    """
    found: list[bytes] = []
    for number, word in enumerate(fold(search).split(" ")):
        for place, part in enumerate(word.split("\\")):
            rest = part
            # The text may begin within an escape, and what follows a backslash may be one.
            if place > 0 or number == 0:
                if _WITHIN.fullmatch(part):
                    continue
                tail = _TAIL.match(part)
                rest = part[tail.end() :] if tail else part
            found += [run.encode() for run in _SAFE_RUN.findall(rest)]
    return found
