"""What sensors of file changes have in common: folders that lead to watched names are marked.

An overflow of the kernel's queue is told as a loss, and the watched names are looked through again;
a mount over watched names is told with what it shows.
"""

import os
import stat
import time
from abc import abstractmethod
from typing import Final

from agent.sensors.folders import Item
from agent.sensors.mounts import HIDDEN, Changes, Mount, Mounts, is_below
from agent.sensors.records import FileRecord, LossRecord, MountRecord, Record
from agent.sensors.survey import status_of
from agent.sensors.walking import Existing, Job, Walking
from agent.sensors.watchlist import WatchList

_WATCH_NS: Final = 250_000_000
"""How long the names of another list may take at once."""
_MOST_SHOWN: Final = 500
"""Names that a mount shows or hides, told one by one."""
_MOST_NAMED: Final = 16
_MOST_TOLD: Final = 4096
_TELL_AGAIN_NS: Final = 60_000_000_000


class WatchedFolders(Walking):
    """The folders of a watch list, as far as they can be marked."""

    name: str

    def __init__(self, watch_list: WatchList) -> None:
        """Mark nothing yet: `_begin` does."""
        super().__init__(watch_list)
        self._told_ns: dict[bytes, int] = {}
        self._mounts = Mounts()
        for point in self._mounts.hidden_files():
            if watch_list.entry_for(point) is not None:
                self._hidden(point)
        self._well_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._well_wall_ns = time.time_ns()

    def watch(self, watch_list: WatchList) -> None:
        """Watch other names from now on. Folders left behind stay marked, and are ignored."""
        self._judge_by(watch_list.with_homes(self._watch_list.homes))
        self._look_at(b"/")
        self._work(_WATCH_NS)

    def drain(self) -> list[Record]:
        """See Sensor."""
        records: list[Record] = []
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now_wall_ns = time.time_ns()
        if self._read_events(records, now_ns):
            self._overflowed(records, now_ns)
        if (changes := self._mounts.look()) is not None:
            self._remounted(changes, now_ns)
        for name in self._links.changed(now_ns):
            like = FileRecord("modified", now_ns, 0, name, b"", directory=False, exact=False)
            self._found.append(like)
            self._changed_links[name] = like._replace(operation="created")
        self._work()
        self._survey.refresh(now_ns)
        self._tell_bounds(records, now_ns)
        records += map(self._as_listed, self._found)
        self._found = []
        self._well_ns, self._well_wall_ns = now_ns, now_wall_ns
        return records

    def _overflowed(self, records: list[Record], now_ns: int) -> None:
        detail = "the kernel's queue of file events was full; watched names were looked through"
        records.append(LossRecord(self.name, now_ns, self._well_ns, None, f"{detail} again"))
        self._jobs.append(self._compare(self._well_wall_ns, now_ns))

    def _tell_bounds(self, records: list[Record], now_ns: int) -> None:
        for top, why in self._bounds.exceeded.items():
            if now_ns - self._told_ns.get(top, -_TELL_AGAIN_NS) >= _TELL_AGAIN_NS:
                if len(self._told_ns) >= _MOST_TOLD:
                    self._told_ns.clear()
                self._told_ns[top] = now_ns
                detail = f"{os.fsdecode(top[-200:])}: {why}"
                loss = LossRecord(self.name, now_ns, self._well_ns, None, detail, bound=True)
                records.append(loss)

    def _as_listed(self, record: Record) -> Record:
        """Tell a change by the watched name, also where a symbolic link leads to it."""
        if not isinstance(record, FileRecord):
            return record
        listed = self._watch_list.listed(record.path)
        return (
            record if listed == record.path else record._replace(path=listed, used_path=record.path)
        )

    @abstractmethod
    def _read_events(self, records: list[Record], now_ns: int) -> bool:
        """Add what changed; return whether the kernel's queue was full."""

    def _mounted_anew(self, point: bytes) -> None:
        """Another filesystem is seen at a mount point that leads on."""

    def _same_as_before(self, point: bytes) -> bool:  # noqa: ARG002 - see fanotify
        """Whether what is seen at a mount point is marked already."""
        return False

    def _hidden(self, point: bytes) -> None:
        """A file is mounted over a watched name."""
        self._cannot[point] = HIDDEN

    def _everything(self) -> Job:
        return self._compare(self._well_wall_ns, self._well_ns)

    def _compare(self, wall_ns: int, now_ns: int) -> Job:
        """Look at everything, and tell what changed since all was well."""
        before = self._survey.remembered()
        found: Existing = {}
        self._bounds.admit(b"/")
        yield from self._walk(b"/", None, found)
        for end in self._links.ends():
            yield from self._walk(end, None, found)
        self._found += self._survey.changes_since(before, found, wall_ns, now_ns)
        for path in before.keys() - found.keys():
            self._survey.named(path, exists=False)

    def _remounted(self, changes: Changes, now_ns: int) -> None:
        """Watch what is seen at mount points now; what was there keeps its marks."""
        table = [*((m, "unmounted") for m in changes.went), *((m, "mounted") for m in changes.came)]
        for mount, operation in table:
            if self._concerns_us(mount.point):
                self._jobs.append(self._reveal(mount, operation, now_ns))
        for point in changes.stayed:
            if self._concerns_us(point) and not self._same_as_before(point):
                self._anew(point)
                self._look_at(point)

    def _concerns_us(self, point: bytes) -> bool:
        return self._watch_list.matters(point) or self._watch_list.entry_for(point) is not None

    def _anew(self, point: bytes) -> None:
        for folder in [each for each in self._cannot if is_below(each, point)]:
            del self._cannot[folder]
        self._bounds.gone(point)
        self._mounted_anew(point)
        if self._mounts.hides_file(point):
            self._hidden(point)
        else:
            self._mark_file(point)

    def _reveal(self, mount: Mount, operation: str, now_ns: int) -> Job:
        """Watch what a mount point shows now, and tell what other files are seen there."""
        before = self._survey.take(mount.point)
        self._anew(mount.point)
        found: Existing = {}
        leads = os.path.isdir(mount.point) and self._watch_list.leads_on(mount.point)  # noqa: PTH112
        if leads and self._bounds.admit(mount.point):
            yield from self._walk(mount.point, None, found)
        status = status_of(mount.point)
        if status is not None and self._watch_list.entry_for(mount.point) is not None:
            folder = stat.S_ISDIR(status.st_mode)
            self._meet(Item(mount.point, folder, link=False), None, found)
        shown = list(self._survey.replaced(before, found, now_ns))
        watched = tuple(record.path for record in shown[:_MOST_NAMED])
        kind = mount.file_system.decode(errors="replace")
        source = mount.root if mount.root != b"/" else mount.source
        self._found.append(
            MountRecord(operation, now_ns, 0, source, mount.point, kind, watched=watched)
        )
        self._found += self._several(shown, "a mount showed or hid further names", mount.point)

    def _several(self, told: list[FileRecord], what: str, place: bytes) -> list[Record]:
        """Return records, as many as one cause may make, and how many were left out."""
        some: list[Record] = [*told[:_MOST_SHOWN]]
        if len(told) > _MOST_SHOWN:
            detail = f"{os.fsdecode(place[-200:])}: {what}"
            at_ns = told[0].boot_ns
            count = len(told) - _MOST_SHOWN
            some.append(LossRecord(self.name, at_ns, at_ns, count, detail, bound=True))
        return some

    def close(self) -> None:
        """See Sensor."""
        for job in self._jobs:
            job.close()
        self._jobs.clear()
        self._mounts.close()
