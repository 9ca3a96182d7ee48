"""What sensors of file changes have in common: folders that lead to watched names are marked.

An overflow of the kernel's queue is told as a loss, and the watched names are looked through again.
"""

import time
from abc import ABC, abstractmethod

from agent.sensors.folders import look_into
from agent.sensors.mounts import HIDDEN, Mounts, is_below
from agent.sensors.records import FileRecord, LossRecord, Record
from agent.sensors.survey import Survey
from agent.sensors.watchlist import WatchList


class WatchedFolders(ABC):
    """The folders of a watch list, as far as they can be marked."""

    name: str

    def __init__(self, watch_list: WatchList) -> None:
        """Mark nothing yet: `_adopt(b"/")` does."""
        self._watch_list = watch_list
        self._survey = Survey(watch_list)
        self.unwatched: dict[bytes, str] = {}
        """What could not be marked, with the reason, for people."""
        self._mounts = Mounts()
        for point in self._mounts.hidden_files():
            if watch_list.entry_for(point) is not None:
                self.unwatched[point] = HIDDEN
        self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._well_wall_ns = time.time_ns()

    def watch(self, watch_list: WatchList) -> None:
        """Watch other names from now on. Folders left behind stay marked, and are ignored."""
        self._watch_list = watch_list
        self._survey.watch(watch_list)
        self._adopt(b"/")

    def drain(self) -> list[Record]:
        """See Sensor."""
        records: list[Record] = []
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now_wall_ns = time.time_ns()
        if self._read_events(records, now_ns):
            detail = "the kernel's queue of file events was full; watched names were looked through"
            records.append(LossRecord(self.name, now_ns, self._well_ns, None, f"{detail} again"))
            remembered = self._survey.remembered()
            self._adopt(b"/")  # first, so that nothing falls between looking and watching
            records += self._survey.changes_since(remembered, self._well_wall_ns, now_ns)
        for point in sorted(self._mounts.to_look_at(now_ns)):
            self._remounted(point)
        self._survey.refresh(now_ns)
        self._well_ns, self._well_wall_ns = now_ns, now_wall_ns
        return records

    @abstractmethod
    def _read_events(self, records: list[Record], now_ns: int) -> bool:
        """Add what changed; return whether the kernel's queue was full."""

    @abstractmethod
    def _mark(self, folder: bytes) -> bool:
        """Mark one folder; False when it cannot be, which `unwatched` tells."""

    def _mounted_anew(self, point: bytes) -> None:  # noqa: B027 - inotify names folders itself
        """Another filesystem is seen at a mount point that leads on."""

    def _adopt(
        self, top: bytes, records: list[Record] | None = None, like: FileRecord | None = None
    ) -> None:
        """Mark a folder and those below it that lead on; report what is in them as `like`."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if not self._mark(folder):
                continue
            found = look_into(folder, self._watch_list)
            waiting += found.folders
            for path, status in found.files.items():
                self._survey.found(path, status)
                if records is not None and like is not None:
                    is_folder = path in found.folders
                    records.append(like._replace(path=path, directory=is_folder))

    def _remounted(self, point: bytes) -> None:
        """Watch what is seen at a mount point now; what was there keeps its marks."""
        leads = self._watch_list.leads_on(point)
        if not leads and self._watch_list.entry_for(point) is None:
            return
        for folder in [each for each in self.unwatched if is_below(each, point)]:
            del self.unwatched[folder]
        self._survey.remounted(point)
        if self._mounts.hides_file(point):
            self.unwatched[point] = HIDDEN
        elif leads:
            self._mounted_anew(point)
            self._adopt(point)

    def close(self) -> None:
        """See Sensor."""
        self._mounts.close()
