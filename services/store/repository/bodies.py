"""Bodies as documents: _id as of the header's; b the frame as it came, or p what was in it.

Small bodies lie plain: pages of many are packed better as a whole than each alone, which costs a
quiet host half as much. What is signed is the hash of what is in a frame, so another frame of the
same proves the same.
"""

from collections.abc import Mapping
from typing import Any

from delivery.checks import Checked
from delivery.frames import make_frame

PLAIN_BYTES = 4096
"""Largest body that lies plain: several must fit into a page of 32 KiB."""


def document_of(key: str, checked: Checked) -> dict[str, Any]:
    """Return the document of a body."""
    if 0 < len(checked.content) <= PLAIN_BYTES:
        return {"_id": key, "p": checked.content}
    return {"_id": key, "b": checked.batch.body}


def frame_of(document: Mapping[str, Any]) -> bytes:
    """Return the body that a document holds, as a frame."""
    plain = document.get("p")
    return bytes(document["b"]) if plain is None else make_frame(bytes(plain))


def size_of(document: Mapping[str, Any]) -> int:
    """Return how many bytes of a document are the body."""
    return len(document["p"] if "p" in document else document["b"])
