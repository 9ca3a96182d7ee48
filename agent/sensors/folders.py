"""What of a watch list exists on this host: folders, homes, symbolic links on the way."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.sensors.watchlist import WatchList

_PASSWD: Final = Path("/etc/passwd")
_NO_HOMES: Final = (b"/", b"/nonexistent", b"/dev", b"/dev/null", b"/proc", b"/sys")


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
    ]


def _aliases(watch_list: WatchList) -> Iterator[tuple[bytes, bytes]]:
    for pattern in watch_list.patterns:
        literal = os.path.dirname(pattern.split(b"*", 1)[0].split(b"?", 1)[0])  # noqa: PTH120 - bytes
        real = os.path.realpath(literal)
        if real != literal:
            yield literal, real


def of_this_host(watch_list: WatchList) -> WatchList:
    """The list with this host's home folders, and with what its symbolic links lead to."""
    at_home = watch_list.with_homes(homes_of_this_host())
    return at_home.with_aliases(_aliases(at_home))


class Found:
    """What lies in a folder: its files that are watched, and its folders that lead on."""

    __slots__ = ("files", "folders")

    def __init__(self) -> None:
        """Nothing yet."""
        self.folders: list[bytes] = []
        self.files: dict[bytes, os.stat_result] = {}
        """By path; folders that are watched themselves too."""


def look_into(folder: bytes, watch_list: WatchList) -> Found:
    """List one folder. One that is gone, or closed to us, has nothing in it."""
    found = Found()
    try:
        with os.scandir(folder) as entries:
            for item in entries:
                if item.is_dir(follow_symlinks=False) and watch_list.leads_on(item.path):
                    found.folders.append(item.path)
                if watch_list.entry_for(item.path) is not None:
                    try:
                        found.files[item.path] = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
    except OSError:
        pass
    return found


def is_folder(status: os.stat_result) -> bool:
    """Whether a status is a folder's."""
    return stat.S_ISDIR(status.st_mode)
