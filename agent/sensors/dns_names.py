"""The names that a DNS query asks for. Packets are hostile: any bytes give names or none."""

from typing import Final

MOST_NAMES: Final = 16
MOST_NAME_BYTES: Final = 255
_HEADER_BYTES: Final = 12
_IS_ANSWER: Final = 0x80
_LONGEST_LABEL: Final = 63
_KIND_AND_CLASS_BYTES: Final = 4


def questions(packet: bytes) -> tuple[str, ...]:
    r"""Return the names in a query, in lower case without the final dot, each once.

    Only what is whole: a packet may be cut. Bytes outside printable ASCII, and what would be taken
    for the end of a label, are escaped as \xNN.
    """
    if len(packet) < _HEADER_BYTES or packet[2] & _IS_ANSWER:
        return ()
    count = int.from_bytes(packet[4:6], "big")
    names: dict[str, None] = {}
    at = _HEADER_BYTES
    for _ in range(min(count, MOST_NAMES)):
        labels = []
        while at < len(packet) and 0 < packet[at] <= _LONGEST_LABEL:
            end = at + 1 + packet[at]
            if end > len(packet):
                return tuple(names)
            labels.append(packet[at + 1 : end])
            at = end
        # A pointer has no place in a question; a packet that ends here was cut.
        if at >= len(packet) or packet[at]:
            break
        if name := ".".join(_shown(label) for label in labels):
            names[name[:MOST_NAME_BYTES]] = None
        at += 1 + _KIND_AND_CLASS_BYTES
    return tuple(names)


def _shown(label: bytes) -> str:
    return "".join(
        chr(byte).lower() if 0x21 <= byte <= 0x7E and byte not in b".\\" else f"\\x{byte:02x}"  # noqa: PLR2004
        for byte in label
    )
