"""Protobuf's wire format, as far as messages are put together from parts that are serialised."""

_LENGTH_DELIMITED = 2


def key(number: int, *, delimited: bool = True) -> bytes:
    """Return the key of a field: of bytes and messages, or of a number (not `delimited`)."""
    return _varint(number << 3 | (_LENGTH_DELIMITED if delimited else 0))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = [_varint(number) for number in range(4096)]


def varint(number: int) -> bytes:
    """Return a number, not negative, in base 128."""
    return _SMALL[number] if number < len(_SMALL) else _varint(number)
