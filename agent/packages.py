"""Which package was installed, upgraded or removed: dpkg's database before and after."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from agent.stages.fold import Made
from nightherd.event.v1 import event_pb2 as events

MOST_BYTES = 32 << 20
MOST_LINE_BYTES = 1 << 16
MOST_CHANGES = 2000
QUIET_NS = 500_000_000
"""dpkg writes its database several times in one run; it is read when that was this long ago."""
LATEST_NS = 5_000_000_000
"""A run that never pauses is told in parts."""
_Change = events.PackageChange
_PRESENT = frozenset(
    (b"installed", b"unpacked", b"half-configured", b"triggers-awaited", b"triggers-pending")
)
_Versions = dict[str, str]


@dataclass(slots=True)
class _Touch:
    """Who wrote the database."""

    first_ns: int
    last_ns: int
    made: Made
    several: bool = False


class Packages:
    """The packages of this host as they were when last looked at: names and versions only."""

    def __init__(self, status: Path = Path("/var/lib/dpkg/status")) -> None:
        """Look at the database now."""
        self._status = status
        self.watched = bytes(status)
        self._known = read(status)
        self._touch: _Touch | None = None
        self._reading: tuple[_Touch, Future[_Versions | None]] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="packages")

    def touched(self, made: Made, now: int) -> None:
        """Note that the image of `made` wrote the database, `now` on the boot clock."""
        touch = self._touch
        if touch is None:
            self._touch = _Touch(now, now, made)
            return
        touch.several = touch.several or touch.made.image != made.image
        touch.last_ns, touch.made = now, made

    def due(self, now: int) -> Iterator[Made]:
        """Have the database read when it is time; yield what an earlier reading found."""
        if self._reading is not None:
            touch, future = self._reading
            if future.done():
                self._reading = None
                yield from self._changes(touch, future.result())
        touched = self._touch
        if touched is None or self._reading is not None:
            return
        if now - touched.last_ns >= QUIET_NS or now - touched.first_ns >= LATEST_NS:
            self._touch = None
            self._reading = touched, self._reader.submit(read, self._status)

    def all(self) -> Iterator[Made]:
        """Yield everything that is not told yet (the agent stops)."""
        if self._reading is not None:
            touch, future = self._reading
            self._reading = None
            yield from self._changes(touch, future.result())
        if self._touch is not None:
            touch, self._touch = self._touch, None
            yield from self._changes(touch, read(self._status))
        self._reader.shutdown()

    def _changes(self, touch: _Touch, found: _Versions | None) -> Iterator[Made]:
        if found is None:  # unreadable now: the next look compares with what was known
            return
        before, self._known = self._known or {}, found
        attribution = touch.made.event.attribution
        if touch.several and attribution == events.ATTRIBUTION_EXACT:
            attribution = events.ATTRIBUTION_INFERRED
        for change in _differing(before, found):
            event = events.Event(
                event_time=touch.made.event.event_time,
                attribution=attribution,
                package_change=change,
            )
            yield Made(touch.made.ran, event, urgent=True)


def _differing(before: _Versions, after: _Versions) -> list[_Change]:
    found = []
    for name in (*after, *(name for name in before if name not in after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old == new:
            continue
        action = _Change.ACTION_UPGRADED
        if not old or not new:
            action = _Change.ACTION_INSTALLED if new else _Change.ACTION_REMOVED
        found.append(
            _Change(action=action, name=name, version=new, previous_version=old, manager="dpkg")
        )
        if len(found) == MOST_CHANGES:
            break
    return found


def read(status: Path) -> _Versions | None:
    """Return the version of each package that is there, by name; of foreign ones name:architecture.

    None when there is no database, or one that is too large.
    """
    packages: dict[tuple[str, str], str] = {}
    fields: dict[bytes, bytes] = {}
    try:
        with status.open("rb") as file:
            if status.stat().st_size > MOST_BYTES:
                return None
            whole = True  # whether this piece begins a line
            while line := file.readline(MOST_LINE_BYTES):
                if line == b"\n" and whole:
                    _add(packages, fields)
                elif whole and line[:1] in b"PSVA":
                    name, _, value = line.partition(b":")
                    if name in (b"Package", b"Status", b"Version", b"Architecture"):
                        fields[name] = value.strip()
                whole = line.endswith(b"\n")
    except OSError:
        return None
    _add(packages, fields)
    native = next((each for name, each in packages if name == "dpkg"), "")
    return {
        name if architecture in ("all", native) or not native else f"{name}:{architecture}": version
        for (name, architecture), version in packages.items()
    }


def _add(packages: dict[tuple[str, str], str], fields: dict[bytes, bytes]) -> None:
    if fields.get(b"Status", b"").rpartition(b" ")[2] in _PRESENT and fields.get(b"Package"):
        key = (_shown(fields[b"Package"]), _shown(fields.get(b"Architecture", b"all")))
        packages[key] = _shown(fields.get(b"Version", b"")) or "0"
    fields.clear()


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
