"""Which names on a host are watched: the matcher. The list itself is data, in watchlist.yaml.

Pure: nothing here looks at a disk. `folders.py` finds what exists.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

DEFAULT_FILE: Final = Path(__file__).with_name("watchlist.yaml")
_CACHE_LIMIT: Final = 20_000
_GLOB: Final = re.compile(rb"[*?]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list: names watched for the same reason."""

    name: str
    paths: tuple[bytes, ...]
    """Patterns, as watchlist.yaml explains them."""
    urgent: bool
    """Seal quickly."""
    structure_only: bool = False
    """Growth of a file is no change: report what is created, deleted, renamed or cut short."""


def _component(pattern: bytes) -> bytes:
    translated = {b"*": b"[^/]*", b"?": b"[^/]"}
    text = b"".join(translated.get(c, re.escape(c)) for c in (bytes([n]) for n in pattern))
    return b"[^/]+" if pattern == b"*" else text


def _expression(path: bytes) -> bytes:
    """The regular expression of an absolute pattern."""
    if path.endswith(b"/**"):
        return _expression(path[:-3]) + b"/.+"
    return b"".join(b"/" + _component(part) for part in path.split(b"/") if part)


def _leading(path: bytes) -> Iterable[bytes]:
    """Expressions of the folders in which something must be watched for `path` to be seen."""
    if path.endswith(b"/**"):
        yield _expression(path[:-3]) + b"(?:/.+)?"
        path = path[:-3]
    parts = [part for part in path.split(b"/") if part]
    for length in range(1, len(parts)):
        yield b"".join(b"/" + _component(part) for part in parts[:length])


def _alternatives(expressions: Iterable[bytes]) -> re.Pattern[bytes]:
    unique = dict.fromkeys(expressions)
    return re.compile(b"|".join(b"(?:" + each + b")" for each in unique) or rb"(?!)", re.DOTALL)


class WatchList:
    """Says for a path whether it is watched, and for a folder whether it leads to watched names.

    Args:
        entries: What is watched; the first that matches wins.
        homes: Folders, as patterns, that `~` stands for.
        aliases: Folders that symbolic links of the list lead to: (as listed, as it really is).
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        homes: Iterable[bytes] = (),
        aliases: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Compile the patterns."""
        self.entries = tuple(entries)
        self.homes = tuple(dict.fromkeys(homes))
        self.aliases = tuple(dict.fromkeys(aliases))
        spelled = [(entry, self._spelled(entry)) for entry in self.entries]
        self.patterns = tuple(path for _, paths in spelled for path in paths)
        """Every pattern, homes and aliases spelled out."""
        # One group per entry: the number of the group that matched is the entry's.
        self._entry = re.compile(
            b"|".join(b"(" + b"|".join(map(_expression, paths)) + b")" for _, paths in spelled)
            or rb"(?!)",
            re.DOTALL,
        )
        self._leads = _alternatives(each for path in self.patterns for each in _leading(path))
        self._known: dict[bytes, Entry | None] = {}

    def _spelled(self, entry: Entry) -> list[bytes]:
        paths = [
            spelled
            for path in entry.paths
            for spelled in (
                [home.rstrip(b"/") + path[1:] for home in self.homes]
                if path.startswith(b"~/")
                else [path]
            )
        ]
        for listed, real in self.aliases:
            paths += [
                real.rstrip(b"/") + path[len(listed) :]
                for path in tuple(paths)
                if path.startswith(listed + b"/")
            ]
        return paths or [b"/\0"]

    def entry_for(self, path: bytes) -> Entry | None:
        """The entry under which an absolute path is watched; None when it is not."""
        try:
            return self._known[path]
        except KeyError:
            match = self._entry.fullmatch(path)
            entry = self.entries[match.lastindex - 1] if match and match.lastindex else None
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[path] = entry
            return entry

    def leads_on(self, folder: bytes) -> bool:
        """Whether names that are watched can lie in this folder or below it."""
        return folder == b"/" or self._leads.fullmatch(folder) is not None

    def growth_matters(self, folder: bytes) -> bool:
        """Whether writing to the files of a folder is a change: False for folders of log files."""
        entry = self.entry_for(folder.rstrip(b"/") + b"/\0")
        return entry is None or not entry.structure_only

    def with_paths(self, paths: Iterable[bytes]) -> "WatchList":
        """The same with further absolute paths; a plain path means itself and all below it.

        Replaces what an earlier call added.
        """
        patterns: list[bytes] = []
        for path in paths:
            plain = path.rstrip(b"/") or b"/"
            if not plain.startswith(b"/"):
                continue
            patterns += [plain] if _GLOB.search(plain) else [plain, plain.rstrip(b"/") + b"/**"]
        kept = [entry for entry in self.entries if entry.name != "further"]
        further = [Entry("further", tuple(patterns), urgent=True)] if patterns else []
        return WatchList([*kept, *further], self.homes, self.aliases)

    def with_homes(self, homes: Iterable[bytes]) -> "WatchList":
        """The same with further home folders; this very list when all of them are homes already."""
        known = _alternatives(map(_expression, self.homes))
        further = [home for home in homes if not known.fullmatch(home)]
        return WatchList(self.entries, [*self.homes, *further], self.aliases) if further else self

    def with_aliases(self, aliases: Iterable[tuple[bytes, bytes]]) -> "WatchList":
        """The same for folders that are really elsewhere: pairs of (as listed, as it really is)."""
        return WatchList(self.entries, self.homes, [*self.aliases, *aliases])


def _entry(fields: dict[str, Any]) -> Entry:
    entry = Entry(
        name=fields["name"],
        paths=tuple(path.encode() for path in fields["paths"]),
        urgent=fields["urgent"],
    )
    return replace(entry, structure_only=fields.get("changes", "all") == "structure")


def load(file: Path = DEFAULT_FILE) -> WatchList:
    """The list of a file; its homes are those the file names, none of this host's yet."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return WatchList(
        entries=[_entry(fields) for fields in document["entries"]],
        homes=[home.encode() for home in document["homes"]],
    )
