"""What an event is about beside who did it: paths, addresses, content.

Terms of the index, filters, rows and counts all read it here, so that they cannot differ.
"""

from collections.abc import Callable
from typing import Any

from nightherd.event.v1 import event_pb2 as events

Counted = list[tuple[bytes, int]]
"""Paths, each with how often."""


def _mount(said: events.MountChange) -> Counted:
    paths = dict.fromkeys([said.target, *said.watched_paths])
    return [(path, 1) for path in paths if path]


_PATHS: dict[str, Callable[[Any], Counted]] = {
    "file_change": lambda said: [(each.path, each.count or 1) for each in said.changes],
    "file_read": lambda said: [(each.path, each.count or 1) for each in said.reads],
    "file_hash": lambda said: [(said.path, 1)] if said.path else [],
    "mount_change": _mount,
    "connect": lambda said: [(said.path, 1)] if said.path else [],
}

PATH_KINDS = frozenset(_PATHS)
"""Kinds of events that are about paths: what the filters `path` and `pathPrefix` look at."""
ADDRESS_KINDS = frozenset({"connect"})
"""Kinds of events that name a remote address."""
HASH_KINDS = frozenset({"file_hash"})
"""Kinds of events that name a content by its hash."""


def paths_of(event: events.Event, kind: str) -> Counted:
    """Return the paths that an event of `kind` is about, each with how often."""
    read = _PATHS.get(kind)
    return read(getattr(event, kind)) if read is not None else []


def traits_of(image: events.Image) -> tuple[int, ...]:
    """Return what is noteworthy about how an image runs, each once."""
    return tuple(dict.fromkeys(image.traits))
