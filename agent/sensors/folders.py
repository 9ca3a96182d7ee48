"""What of a watch list exists on this host: folders, files, and the homes of accounts."""

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from agent.sensors.folder_tree import in_folder
from agent.sensors.watchlist import WatchList

_PASSWD: Final = Path("/etc/passwd")
_NO_HOMES: Final = (b"/", b"/nonexistent", b"/dev", b"/dev/null", b"/proc", b"/sys")
_MOST_HOMES: Final = 10_000
MOST_NAMES: Final = 20_000
"""Names in one folder that are looked at; of further ones only the changes are seen."""


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


def opened(folder: bytes) -> int:
    """Open a folder to look into it, and no symbolic link to one.

    Raises:
        OSError: It is gone, or closed to us.
    """
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def look_into(fd: int, folder: bytes) -> list[Item]:
    """Return the names in an open folder, not all of them when there are very many.

    A folder that is gone, or closed to us, has nothing in it.
    """
    found: list[Item] = []
    with suppress(OSError), os.scandir(fd) as entries:
        for entry in islice(entries, MOST_NAMES):
            path = in_folder(folder, os.fsencode(entry.name))
            found.append(Item(path, entry.is_dir(follow_symlinks=False), entry.is_symlink()))
    return found
