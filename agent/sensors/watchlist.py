"""Which names on a host are watched: the matcher. The lists themselves are data: watchlist.yaml
says of which names changes are reported, secrets.yaml of which files reads are.

Pure: nothing here looks at a disk. `folders.py` finds what exists.
"""  # noqa: D205  (one sentence would not do)

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from agent.sensors import patterns

DEFAULT_FILE: Final = Path(__file__).with_name("watchlist.yaml")
SECRETS_FILE: Final = Path(__file__).with_name("secrets.yaml")
_CACHE_LIMIT: Final = 20_000
_LONG: Final = 512
"""Longer paths are judged anew each time: hostile names do not fill the memory."""
_MOST_SPELLINGS: Final = 4
_FEW: Final = 64
_GLOB: Final = re.compile(rb"[*?]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list: names watched for the same reason."""

    name: str
    paths: tuple[bytes, ...]
    """Patterns, as watchlist.yaml explains them."""
    urgent: bool
    """Seal quickly."""
    structure_only: bool = False
    """Growth of a file is no change: report what is created, deleted, renamed or cut short."""
    inodes: bool = False
    """Files are watched by inode too: under whatever name they are changed."""
    most_folders: int = 2048
    """So many folders of one tree are watched."""
    most_depth: int = 24
    """Folders so deep in a tree are watched."""


_Known = tuple[Entry | None, bytes]
"""The entry of a path, and the path as it is listed."""


class WatchList:
    """Says for a path whether it is watched, and for a folder whether it leads to watched names.

    Args:
        entries: Of which names changes are reported; the first that matches wins.
        homes: Folders, as patterns, that `~` stands for.
        secrets: Of which files reads are reported.
    """

    def __init__(
        self, entries: Iterable[Entry], homes: Iterable[bytes] = (), secrets: Iterable[Entry] = ()
    ) -> None:
        """Compile the patterns."""
        self.entries, self.secrets = tuple(entries), tuple(secrets)
        self.patterns = tuple(path for entry in self.entries for path in entry.paths)
        self._entry = patterns.numbered(map(patterns.expression, e.paths) for e in self.entries)
        self._secret = patterns.numbered(map(patterns.expression, e.paths) for e in self.secrets)
        secret = tuple(path for entry in self.secrets for path in entry.paths)
        self._leads = patterns.any_of(
            each for path in (*self.patterns, *secret) for each in patterns.leading(path)
        )
        self._tree = patterns.numbered(
            filter(None, map(patterns.tree, each.paths)) for each in (*self.entries, *self.secrets)
        )
        self._holds = patterns.any_of(map(patterns.holding, self.patterns))
        self._keeps = patterns.any_of(map(patterns.holding, secret))
        self.links: Mapping[bytes, bytes] = {}
        """Symbolic links: where they lead to, and the watched name that leads there."""
        self._link_lengths: tuple[int, ...] = ()
        self._link_ends: tuple[bytes, ...] = ()
        self._know_homes(homes)

    def _know_homes(self, homes: Iterable[bytes]) -> None:
        self.homes = tuple(dict.fromkeys(home.rstrip(b"/") for home in homes))
        wild = [home for home in self.homes if _GLOB.search(home)]
        self._home = frozenset(self.homes) - frozenset(wild)
        # Few are compared faster than they are looked up; of many, each path has to be looked up.
        self._plain_homes = tuple(self._home) if len(self._home) <= _FEW else (b"/",)
        self._home_lengths = tuple(sorted({len(home) for home in self._home}))
        expressions = b"|".join(map(patterns.expression, wild)) or rb"(?!)"
        self._wild_home = re.compile(b"(?:" + expressions + b")(?=/|\\Z)", re.DOTALL)
        self._home_leads = patterns.any_of(each for home in wild for each in patterns.leading(home))
        self._above_homes = _above(self._home)
        self._forget()

    def _forget(self) -> None:
        """Begin with empty caches, and know what lies above the ends of links."""
        self._known: dict[bytes, _Known] = {}
        self._leading: dict[bytes, bool] = {}
        self._above = _above(self.links)

    def _spellings(self, path: bytes) -> list[bytes]:
        """Return the path, and what it is called by links that lead to it."""
        found = [path]
        if not path.startswith(self._link_ends):
            return found
        for known in found:
            for length in self._link_lengths:
                listed = self.links.get(known[:length])
                if listed is not None and known[length : length + 1] in (b"/", b""):
                    other = listed + known[length:]
                    if other not in found and len(found) < _MOST_SPELLINGS:
                        found.append(other)
        return found

    def _forms(self, path: bytes) -> Iterator[bytes]:
        """Yield a path, and what it is called from the homes that it is in."""
        yield path
        wild = self._wild_home.match(path)
        if wild is not None:
            yield b"~" + path[wild.end() :]
        for length in self._home_lengths if path.startswith(self._plain_homes) else ():
            if path[length : length + 1] in (b"/", b"") and path[:length] in self._home:
                yield b"~" + path[length:]

    def _look(self, path: bytes) -> _Known:
        for spelled in self._spellings(path) if self.links else (path,):
            for form in self._forms(spelled):
                if match := self._entry.fullmatch(form):
                    return self.entries[_number(match)], spelled
        return None, path

    def _find(self, path: bytes) -> _Known:
        known = self._known.get(path)
        if known is None:
            known = self._look(path)
            if len(path) <= _LONG:
                if len(self._known) >= _CACHE_LIMIT:
                    self._known.clear()
                self._known[path] = known
        return known

    def entry_for(self, path: bytes) -> Entry | None:
        """The entry under which an absolute path is watched; None when it is not."""
        return self._find(path)[0]

    def listed(self, path: bytes) -> bytes:
        """The watched name of a path that a symbolic link of the list leads to, else the path."""
        return self._find(path)[1]

    def secret_for(self, path: bytes) -> str | None:
        """Name of the kind of secret that is kept in a file; None when it is none."""
        for spelled in self._spellings(path) if self.links else (path,):
            for form in self._forms(spelled):
                if match := self._secret.fullmatch(form):
                    return self.secrets[_number(match)].name
        return None

    def tree_of(self, folder: bytes) -> Entry | None:
        """The entry that has everything below a folder looked at; None when none has."""
        for spelled in self._spellings(folder):
            for form in self._forms(spelled):
                if match := self._tree.fullmatch(form):
                    return (*self.entries, *self.secrets)[_number(match)]
        return None

    def leads_on(self, folder: bytes) -> bool:
        """Whether names that are watched can lie in this folder or below it."""
        known = self._leading.get(folder)
        if known is None:
            known = (
                folder in self._above
                or folder in self._above_homes
                or any(
                    self._leads.fullmatch(form) or self._home_leads.fullmatch(form)
                    for spelled in self._spellings(folder)
                    for form in self._forms(spelled)
                )
            )
            if len(folder) <= _LONG:
                if len(self._leading) >= _CACHE_LIMIT:
                    self._leading.clear()
                self._leading[folder] = known
        return known

    def matters(self, path: bytes) -> bool:
        """Whether a name leads on, or is that of a secret."""
        return self.leads_on(path) or self.secret_for(path) is not None

    def holds(self, folder: bytes) -> bool:
        """Whether names of which changes are watched can lie in this very folder."""
        return self._any_form(self._holds, folder)

    def keeps(self, folder: bytes) -> bool:
        """Whether secrets can lie in this very folder."""
        return self._any_form(self._keeps, folder)

    def _any_form(self, pattern: re.Pattern[bytes], folder: bytes) -> bool:
        return any(
            pattern.fullmatch(form)
            for spelled in self._spellings(folder)
            for form in self._forms(spelled)
        )

    def growth_matters(self, folder: bytes) -> bool:
        """Whether writing to the files of a folder is a change: False for folders of log files."""
        entry = self.entry_for(folder.rstrip(b"/") + b"/\0")
        return entry is None or not entry.structure_only

    def with_paths(self, paths: Iterable[bytes]) -> "WatchList":
        """The same with further absolute paths; a plain path means itself and all below it.

        Replaces what an earlier call added.
        """
        further: list[bytes] = []
        for path in paths:
            plain = path.rstrip(b"/") or b"/"
            if not plain.startswith(b"/"):
                continue
            further += [plain] if _GLOB.search(plain) else [plain.rstrip(b"/") + b"/**"]
        kept = [entry for entry in self.entries if entry.name != "further"]
        added = [Entry("further", tuple(further), urgent=True)] if further else []
        return WatchList([*kept, *added], self.homes, self.secrets).with_links(self.links)

    def with_homes(self, homes: Iterable[bytes]) -> "WatchList":
        """The same with further home folders; this very list when all of them are homes already."""
        further = [
            home for home in homes if home not in self._home and not self._wild_home.fullmatch(home)
        ]
        if not further:
            return self
        wider = copy.copy(self)
        wider._know_homes([*self.homes, *further])  # noqa: SLF001 - its own kind
        return wider

    def with_links(self, links: Mapping[bytes, bytes]) -> "WatchList":
        """The same for these symbolic links, by where they lead to."""
        if links == self.links:
            return self
        other = copy.copy(self)
        other.links = dict(links)
        other._link_lengths = tuple(sorted({len(end) for end in links}))  # noqa: SLF001
        other._link_ends = tuple(links)  # noqa: SLF001
        other._forget()  # noqa: SLF001
        return other


def _number(match: re.Match[bytes]) -> int:
    """Return which group of a numbered pattern matched, from 0."""
    return (match.lastindex or 1) - 1


def _above(ends: Iterable[bytes]) -> set[bytes]:
    """Return the folders on the way to these places."""
    found = {b"/"}
    for end in ends:
        way = end
        while (way := way.rpartition(b"/")[0]) and way not in found:
            found.add(way)
    return found


def _entry(fields: dict[str, Any]) -> Entry:
    bounds = {f"most_{name}": fields[name] for name in ("folders", "depth") if name in fields}
    return Entry(
        name=fields["name"],
        paths=tuple(path.encode() for path in fields["paths"]),
        urgent=fields.get("urgent", False),
        structure_only=fields.get("changes", "all") == "structure",
        inodes=fields.get("inodes", False),
        **bounds,
    )


def load(file: Path = DEFAULT_FILE, secrets: Path = SECRETS_FILE) -> WatchList:
    """The list of two files; its homes are those the first names, none of this host's yet."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    secret = yaml.safe_load(secrets.read_text(encoding="utf-8"))
    return WatchList(
        entries=[_entry(fields) for fields in document["entries"]],
        homes=[home.encode() for home in document["homes"]],
        secrets=[_entry(fields) for fields in secret["secrets"]],
    )
