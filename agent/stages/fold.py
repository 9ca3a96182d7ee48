"""Fewer events for the same facts: repeats are counted, an image's file changes become one."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.lines import Ran
from agent.sensors.records import FileRecord
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

MERGE_NS = 1_000_000_000
"""How long one image's changes are collected at most."""
MOST_CHANGES = 1000
"""Paths in one event; then it is closed and another begins."""

_Change = events.FileChange.Change
_OPERATIONS = {
    "created": events.FileChange.OPERATION_CREATED,
    "linked": events.FileChange.OPERATION_LINKED,
    "modified": events.FileChange.OPERATION_MODIFIED,
    "truncated": events.FileChange.OPERATION_TRUNCATED,
    "deleted": events.FileChange.OPERATION_DELETED,
    "renamed": events.FileChange.OPERATION_RENAMED,
    "attributes": events.FileChange.OPERATION_ATTRIBUTES,
}


@dataclass(slots=True)
class Made:
    """An event on its way to the seal."""

    ran: Ran | None
    event: events.Event
    urgent: bool = False
    kind: str = ""
    """Which fact it is, as Event.kind names it; read from the event when not given."""

    def __post_init__(self) -> None:
        """Fill in the kind."""
        if not self.kind:
            self.kind = self.event.WhichOneof("kind") or ""

    @property
    def image(self) -> events.Image | None:
        """Who did it."""
        return self.ran.image if self.ran is not None else None


@dataclass(slots=True)
class _Open:
    """Changes of one image that are being collected."""

    ran: Ran | None
    first_wall_ns: int
    last_wall_ns: int
    first_boot_ns: int
    attribution: "events.Attribution.ValueType"
    candidates: tuple[str, ...]
    urgent: bool = False
    changes: dict[tuple[str, bytes, bytes, bool], tuple[int, FileRecord]] = field(
        default_factory=dict
    )


class FileChanges:
    """Collects file changes per image until it exits, one second at most."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        self._open: dict[tuple[str, int], _Open] = {}

    def __len__(self) -> int:
        """Return how many collections are open."""
        return len(self._open)

    def touch(self, paths: frozenset[bytes]) -> bool:
        """Whether what is being collected changes one of `paths`."""
        return any(path in paths for one in self._open.values() for _, path, _, _ in one.changes)

    def add(
        self,
        record: FileRecord,
        ran: Ran | None,
        wall_ns: int,
        *,
        attribution: "events.Attribution.ValueType",
        candidates: tuple[str, ...] = (),
        urgent: bool,
    ) -> Made | None:
        """Add one change; return an event when the image's collection became full."""
        key = (ran.image.exec_id if ran is not None else "", attribution)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = _Open(
                ran, wall_ns, wall_ns, record.boot_ns, attribution, candidates
            )
        change = (record.operation, record.path, record.previous_path, record.directory)
        count, told = found.changes.get(change, (0, record))
        found.changes[change] = (count + 1, record if record.mode is not None else told)
        found.last_wall_ns = max(found.last_wall_ns, wall_ns)
        found.urgent = found.urgent or urgent
        if len(found.changes) >= MOST_CHANGES:
            del self._open[key]
            return _close(found)
        return None

    def ended(self, exec_id: str) -> Iterator[Made]:
        """Close what an image collected: it exited, or runs another program now."""
        for attribution in (events.ATTRIBUTION_EXACT, events.ATTRIBUTION_INFERRED):
            found = self._open.pop((exec_id, attribution), None)
            if found is not None:
                yield _close(found)

    def due(self, boot_ns: int) -> Iterator[Made]:
        """Close what has been open for a second."""
        for key, found in list(self._open.items()):
            if boot_ns - found.first_boot_ns >= MERGE_NS:
                del self._open[key]
                yield _close(found)

    def all(self) -> Iterator[Made]:
        """Close everything (the agent stops)."""
        while self._open:
            yield _close(self._open.popitem()[1])


def _close(found: _Open) -> Made:
    event = events.Event(
        event_time=clock.to_timestamp(found.first_wall_ns),
        attribution=found.attribution,
        file_change=events.FileChange(
            changes=[
                _Change(
                    path=path,
                    operation=_OPERATIONS[operation],
                    previous_path=previous,
                    mode=told.mode,
                    owner_id=told.owner_id,
                    group_id=told.group_id,
                    count=count if count > 1 else 0,
                    directory=directory,
                    used_path=told.used_path,
                )
                for (operation, path, previous, directory), (count, told) in found.changes.items()
            ],
            candidate_exec_ids=found.candidates,
        ),
    )
    if found.last_wall_ns != found.first_wall_ns:
        event.last_event_time.CopyFrom(clock.to_timestamp(found.last_wall_ns))
    return Made(found.ran, event, found.urgent)


class Repeats:
    """Counts identical events of one image instead of keeping each."""

    FOLDED = frozenset(
        {"connect", "listen", "auth_failure", "firewall_change", "privilege_use", "agent_status"}
    )

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._seen: dict[tuple[str, bytes], events.Event] = {}

    @staticmethod
    def key(made: Made) -> tuple[str, bytes]:
        """Return what repeats of an event have in common with it."""
        event, kind = made.event, made.kind
        if kind == "connect":
            # The local port is the kernel's choice, new each time: no reason to keep each.
            connect = event.connect
            content = f"{connect.protocol} {connect.remote_address} {connect.remote_port}".encode()
        else:
            content = getattr(event, kind).SerializeToString(deterministic=True)
        return (
            made.ran.image.exec_id if made.ran is not None else "",
            kind.encode() + b"\0" + content,
        )

    def fold(self, key: tuple[str, bytes], event: events.Event) -> bool:
        """Count `event` into one that was kept before; False when it is to be kept itself."""
        first = self._seen.get(key)
        if first is None:
            return False
        first.count = max(first.count, 1) + max(event.count, 1)
        first.last_event_time.CopyFrom(event.event_time)
        return True

    def keep(self, key: tuple[str, bytes], event: events.Event) -> None:
        """Remember that `event` was kept."""
        self._seen[key] = event

    def clear(self) -> None:
        """Forget everything: the batch that held the first ones is sealed."""
        self._seen.clear()
