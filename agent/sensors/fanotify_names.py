"""What an event of fanotify says, put in one shape, and which operations it stands for."""

from typing import Final, NamedTuple

from agent.sensors import fanotify_api as api

_CONTENT: Final = api.MODIFY | api.CLOSE_WRITE
_Name = tuple[bytes, bytes]
"""Key of the folder, and the name in it."""
NOTHING: Final[_Name] = (b"", b"")


class Happened(NamedTuple):
    """One event."""

    mask: int
    pid: int
    now_ns: int
    old: _Name
    """For renames: where from."""
    new: _Name
    """Where it happened; for renames: where to."""
    target: bytes
    """Key of the file or folder that it happened to; nothing where the kernel does not tell."""


def happened(mask: int, pid: int, about: list[api.Info], now_ns: int) -> Happened:
    """Put what an event is about in its place."""
    old, new, target = NOTHING, NOTHING, b""
    for kind, key, name in about:
        if kind == api.INFO_TARGET:
            target = key
        elif kind == api.INFO_OLD_NAME:
            old = (key, name)
        else:
            new = (key, name)
    return Happened(mask, pid, now_ns, old, new, target)


def operations_of(mask: int, *, exists: bool) -> list[str]:
    """What happened, in the likeliest order: the kernel merges events that wait together.

    Args:
        mask: Everything that happened.
        exists: Whether the name is there now.
    """
    made = ["created"] if mask & api.CREATE else []
    if mask & api.MOVED_TO:
        made.append("renamed")
    if mask & api.ATTRIB:
        made.append("attributes")
    if mask & _CONTENT:
        made.append("modified")
    if not mask & (api.DELETE | api.MOVED_FROM):
        return made
    return ["deleted", *made] if made and exists else [*made, "deleted"]
