"""Looking through the folders of a watch list, and marking those that lead to watched names.

It is work that a user can make any amount of. So it is bounded (folder_bounds.py), and goes on from
tick to tick, a few milliseconds at a time.
"""

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator
from typing import Final

from agent.sensors.folder_bounds import FolderBounds
from agent.sensors.folder_tree import parent_of
from agent.sensors.folders import MOST_NAMES, Item, look_into, opened
from agent.sensors.links import Links
from agent.sensors.records import FileRecord, Record
from agent.sensors.survey import Survey, status_of
from agent.sensors.watchlist import WatchList

_TURN_NS: Final = 5_000_000
"""How long folders are looked through before the rest of the agent gets its turn."""
_AT_ONCE: Final = 16
"""Names of a folder that are looked at before others get a turn."""
_LEAST_STEPS: Final = 24
"""So many turns at a time, however slow the machine is: what was made a moment ago is marked."""
_MOST_WAITING: Final = 4096
"""Looks that wait for their turn; beyond that, everything is looked at once instead."""

Job = Generator[None, None, None]
Existing = dict[bytes, os.stat_result]


class Walking(ABC):
    """Folders that are looked through, and what was found in them."""

    def __init__(self, watch_list: WatchList) -> None:
        """Look at nothing yet: `_begin` does."""
        self._watch_list = watch_list
        self._survey = Survey(watch_list)
        self._bounds = FolderBounds(watch_list)
        self._links = Links()
        self._cannot: dict[bytes, str] = {}
        self._jobs: deque[Job] = deque()
        self._found: list[Record] = []
        """What jobs found, for the next drain."""
        self._changed_links: dict[bytes, FileRecord | None] = {}
        """Names that became, or may have been, symbolic links; and how to tell what they show."""

    @property
    def unwatched(self) -> dict[bytes, str]:
        """What is not watched, with the reason, for people."""
        return {**self._cannot, **self._links.refused, **self._bounds.exceeded}

    def _begin(self) -> None:
        """Mark everything that exists, at once: whoever starts must know that it is watched."""
        self._look_at(b"/")
        while self._jobs:
            for _ in self._jobs.popleft():
                pass

    def _judge_by(self, watch_list: WatchList) -> None:
        self._watch_list = watch_list.with_links(self._links.ends())
        self._survey.watch(self._watch_list)
        self._bounds.watch(self._watch_list)

    def _work(self, patience_ns: int = _TURN_NS) -> None:
        """Go on with looking through folders, for a moment."""
        until_ns = time.monotonic_ns() + patience_ns
        while self._changed_links and time.monotonic_ns() < until_ns:
            self._linked(*self._changed_links.popitem())
        steps = 0
        while self._jobs and (steps < _LEAST_STEPS or time.monotonic_ns() < until_ns):
            steps += 1
            if next(self._jobs[0], self) is self:
                self._jobs.popleft()

    @abstractmethod
    def _mark(self, folder: bytes, fd: int) -> bool:
        """Mark one folder; False when what is below it need not be looked at either."""

    def _mark_file(self, path: bytes) -> None:  # noqa: B027 - inotify marks folders only
        """Mark a file itself, where that is asked for."""

    def _look_at(self, top: bytes, like: FileRecord | None = None) -> None:
        """Mark a folder and those below it that lead on; report what is in them as `like`."""
        if self._bounds.admit(top):
            if len(self._jobs) >= _MOST_WAITING:
                self._jobs.clear()
                self._jobs.append(self._everything())
            self._jobs.append(self._walk(top, like))

    def _walk(
        self,
        top: bytes,
        like: FileRecord | None = None,
        found: Existing | None = None,
    ) -> Job:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                fd = opened(folder)
            except OSError as error:
                self._closed_to_us(folder, error)
                continue
            try:
                # Nothing stays open meanwhile: it would keep the filesystem from being unmounted.
                items = look_into(fd, folder) if self._mark(folder, fd) else []
            finally:
                os.close(fd)
            if len(items) >= MOST_NAMES:
                self._bounds.exceeded[folder] = f"more than {MOST_NAMES} names are not looked at"
            # Most names lie where nothing is watched but folders that lead on: no look at those.
            holds, keeps = self._watch_list.holds(folder), self._watch_list.keeps(folder)
            if not holds and not keeps:
                items = [item for item in items if item.folder or item.link]
            for count, item in enumerate(items, 1):
                self._meet(item, like, found, holds=holds)
                if keeps and not item.folder:
                    self._mark_file(item.path)
                if item.folder and self._watch_list.leads_on(item.path):
                    waiting += [item.path] if self._bounds.admit(item.path) else []
                if not count % _AT_ONCE:
                    yield
            yield

    def _closed_to_us(self, folder: bytes, error: OSError) -> None:
        if isinstance(error, PermissionError):
            self._cannot[folder] = error.strerror or "not watched"

    def _meet(
        self,
        item: Item,
        like: FileRecord | None,
        found: Existing | None,
        *,
        holds: bool = True,
    ) -> None:
        """Know one name that was found in a folder; `holds`: watched names lie in that."""
        looked_at = holds or item.folder
        entry = self._watch_list.entry_for(item.path) if looked_at else None
        status = status_of(item.path) if entry is not None else None
        if status is not None:
            self._survey.found(item.path, status)
            if found is not None:
                found[item.path] = status
            if like is not None:
                self._found.append(like._replace(path=item.path, directory=item.folder))
        if item.link and (entry is not None or self._watch_list.leads_on(item.path)):
            self._linked(item.path, like, found)
        if entry is not None and entry.inodes and not item.folder:
            self._mark_file(item.path)

    def _linked(
        self,
        name: bytes,
        like: FileRecord | None = None,
        found: Existing | None = None,
    ) -> None:
        """Follow a symbolic link of this name, if there is one and it leads to watched names."""
        before = self._links.drop(name)
        end = None
        if self._worth_following(name):
            wide = self._watch_list.tree_of(name) is not None or self._watch_list.holds(name)
            end = self._links.follow(name, wide=wide)
        if before != end:
            self._judge_by(self._watch_list)
            if before is not None:
                self._bounds.gone(before)
        if end is None:
            return
        self._mark_file(name)
        self._look_along(end, like, found)

    def _look_along(
        self,
        end: bytes,
        like: FileRecord | None = None,
        found: Existing | None = None,
    ) -> None:
        """Mark the way to a place that only now is watched, and the place itself."""
        ways: list[bytes] = []
        way = end
        while (way := parent_of(way)) and way not in self._bounds:
            ways.append(way)
        if self._bounds.admit(end):
            self._jobs += map(self._alone, reversed(ways))
            self._jobs.append(self._walk(end, like, found))

    def _alone(self, folder: bytes) -> Job:
        """Mark one folder and nothing below it: a name in it is what a link leads to."""
        try:
            fd = opened(folder)
        except OSError:
            return
        try:
            self._mark(folder, fd)
        finally:
            os.close(fd)
        yield

    def _worth_following(self, name: bytes) -> bool:
        """Whether what a link leads to is watched: folders, and files marked by inode."""
        leads, entry = self._watch_list.leads_on(name), self._watch_list.entry_for(name)
        if not leads and (entry is None or not entry.inodes):
            return False
        if os.path.isdir(name):  # noqa: PTH112 - bytes
            return leads and self._watch_list.tree_of(os.path.realpath(name)) is None
        if os.path.exists(name):  # noqa: PTH110 - bytes
            if entry is None or not entry.inodes:
                return False
            return self._watch_list.entry_for(os.path.realpath(name)) is None
        # Nothing is there yet: a folder may come to be where one was listed.
        return leads and not self._watch_list.tree_of(parent_of(name))

    @abstractmethod
    def _everything(self) -> Job:
        """Look at everything, and tell what changed since all was well."""
