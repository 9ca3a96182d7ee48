"""Bytes of a Linux process as the text of a subject."""


def as_text(value: bytes) -> str:
    r"""Return `value` as text; bytes that are not UTF-8 become \xNN (as Behaviour.subject says)."""
    return value.decode("utf-8", "backslashreplace")
