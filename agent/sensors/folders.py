"""What of a watch list exists on this host: folders, files, and the homes of accounts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from agent.sensors.folder_tree import in_folder
from agent.sensors.watchlist import WatchList

_PASSWD: Final = Path("/etc/passwd")
_NO_HOMES: Final = (b"/", b"/nonexistent", b"/dev", b"/dev/null", b"/proc", b"/sys")
_MOST_HOMES: Final = 10_000
_AT_ONCE: Final = 64
"""Names of a folder that are looked at before others get a turn."""


def homes_of_this_host(passwd: Path = _PASSWD) -> list[bytes]:
    """Home folders that /etc/passwd names; empty when it cannot be read."""
    try:
        lines = passwd.read_bytes().splitlines()
    except OSError:
        return []
    fields = (line.split(b":") for line in lines)
    homes = (parts[5].rstrip(b"/") for parts in fields if len(parts) > 6)  # noqa: PLR2004 - passwd(5)
    return [
        home
        for home in dict.fromkeys(homes)
        if home.startswith(b"/") and home not in _NO_HOMES and not set(home) & set(b"*?")
    ][:_MOST_HOMES]


def of_this_host(watch_list: WatchList) -> WatchList:
    """The list with this host's home folders."""
    return watch_list.with_homes(homes_of_this_host())


class Item(NamedTuple):
    """One name in a folder."""

    path: bytes
    folder: bool
    link: bool
    status: os.stat_result | None
    """Of names that are watched; None of others."""


def opened(folder: bytes) -> int:
    """Open a folder to look into it, and no symbolic link to one.

    Raises:
        OSError: It is gone, or closed to us.
    """
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def look_into(fd: int, folder: bytes, watch_list: WatchList) -> Iterator[list[Item]]:
    """Yield what matters of an open folder, in turns: names that are watched or lead on.

    A folder that is gone, or closed to us, has nothing in it.
    """
    turn: list[Item] = []
    try:
        with os.scandir(fd) as entries:
            for count, entry in enumerate(entries, 1):
                path = in_folder(folder, os.fsencode(entry.name))
                watched = watch_list.entry_for(path) is not None
                if watched or watch_list.matters(path):
                    status = _status(entry) if watched else None
                    is_folder = entry.is_dir(follow_symlinks=False)
                    turn.append(Item(path, is_folder, entry.is_symlink(), status))
                if not count % _AT_ONCE:
                    yield turn
                    turn = []
    except OSError:
        pass
    yield turn


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None
