"""Fewer events for the same facts: repeats are counted, an image's file changes become one."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.lines import Ran
from agent.sensors.records import FileRecord
from agent.stages.bounds import MOST_CANDIDATES, MOST_EVENT_BYTES, cut_path
from chassis import clock
from nightherd.event.v1 import event_pb2 as events

MERGE_NS = 1_000_000_000
"""How long one image's changes are collected at most."""
MOST_CHANGES = 1000
"""Paths in one event; then it is closed and another begins."""
MOST_COLLECTED_BYTES = MOST_EVENT_BYTES - (8 << 10)
"""The same for their bytes; what is left is room for who may have done it."""
MOST_OPEN_BYTES = 4 << 20
"""Of everything that is collected; from there on each change is an event."""
_CHANGE_BYTES = 64
"""What a change says beside its paths, at most."""

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
    urgent: bool
    cut: bool
    """There are more candidates than are named."""
    size_bytes: int = 0
    changes: dict[tuple[str, bytes, bytes, bool], tuple[int, FileRecord, int]] = field(
        default_factory=dict
    )
    """What was done to which path -> how often, as it was seen best, bytes cut from the paths."""

    def fits(self, size_bytes: int) -> bool:
        """Whether one more change may be added."""
        return len(self.changes) < MOST_CHANGES and (
            not self.changes or self.size_bytes + size_bytes <= MOST_COLLECTED_BYTES
        )


_URGENT = "urgent"
_Key = tuple[int, str]
"""How sure it is, and what the changes are collected for."""


class FileChanges:
    """Collects file changes per image until it exits, one second at most.

    What is urgent is collected by itself for each entry of the watch list: however much an image
    changes elsewhere, it neither delays nor displaces that.
    """

    def __init__(self) -> None:
        """Begin with nothing open."""
        self._open: dict[str, dict[_Key, _Open]] = {}
        self.size_bytes = 0
        """What is being collected takes so much."""

    def __len__(self) -> int:
        """Return how many images' collections are open."""
        return len(self._open)

    def touch(self, paths: frozenset[bytes]) -> bool:
        """Whether what is being collected changes one of `paths`."""
        return any(
            path in paths
            for some in self._open.values()
            for one in some.values()
            for _, path, _, _ in one.changes
        )

    def add(
        self,
        record: FileRecord,
        ran: Ran | None,
        wall_ns: int,
        *,
        attribution: "events.Attribution.ValueType",
        candidates: tuple[str, ...] = (),
        urgent: bool,
        entry: str = "",
    ) -> Made | None:
        """Add one change; return an event when the image's collection became full.

        `entry` is the watch list's entry that says that it is urgent.
        """
        exec_id = ran.image.exec_id if ran is not None else ""
        key = (attribution, (entry or _URGENT) if urgent else "")
        path, cut = cut_path(record.path)
        previous, cut_too = cut_path(record.previous_path)
        change = (record.operation, path, previous, record.directory)
        used, _ = cut_path(record.used_path)
        size = len(path) + len(previous) + len(used) + _CHANGE_BYTES
        full = None
        collections = self._open.setdefault(exec_id, {})
        found = collections.get(key)
        if found is not None and change not in found.changes and not found.fits(size):
            full, found = self._take(exec_id, key), None
            collections = self._open.setdefault(exec_id, {})
        if found is None:
            found = collections[key] = _Open(
                ran,
                wall_ns,
                wall_ns,
                record.boot_ns,
                attribution,
                candidates[:MOST_CANDIDATES],
                urgent,
                cut=len(candidates) > MOST_CANDIDATES,
            )
        if change not in found.changes:
            found.size_bytes += size
            self.size_bytes += size
        if cut or cut_too or used:  # the whole paths would be kept with it
            record = record._replace(path=path, previous_path=previous, used_path=used)
        count, told, _ = found.changes.get(change, (0, record, 0))
        kept = record.joined_with(told)
        found.changes[change] = (count + 1, kept, cut + cut_too)
        found.last_wall_ns = max(found.last_wall_ns, wall_ns)
        if full is None and (
            len(found.changes) >= MOST_CHANGES or self.size_bytes > MOST_OPEN_BYTES
        ):
            full = self._take(exec_id, key)
        return full

    def ended(self, exec_id: str) -> Iterator[Made]:
        """Close what an image collected: it exited, or runs another program now."""
        for key in list(self._open.get(exec_id, ())):
            yield self._take(exec_id, key)

    def due(self, boot_ns: int) -> Iterator[Made]:
        """Close what has been open for a second."""
        for exec_id, some in list(self._open.items()):
            for key, found in list(some.items()):
                if boot_ns - found.first_boot_ns >= MERGE_NS:
                    yield self._take(exec_id, key)

    def all(self) -> Iterator[Made]:
        """Close everything (the agent stops)."""
        for exec_id in list(self._open):
            yield from self.ended(exec_id)

    def _take(self, exec_id: str, key: _Key) -> Made:
        some = self._open[exec_id]
        found = some.pop(key)
        if not some:
            del self._open[exec_id]
        self.size_bytes -= found.size_bytes
        return _close(found)


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
                    requested_mode=told.requested_mode,
                    attribute=told.attribute,
                    path_cut_bytes=cut,
                    used_path=told.used_path,
                )
                for (operation, path, previous, directory), (
                    count,
                    told,
                    cut,
                ) in found.changes.items()
            ],
            candidate_exec_ids=found.candidates,
        ),
        cut=found.cut or any(cut for _, _, cut in found.changes.values()),
    )
    if found.last_wall_ns != found.first_wall_ns:
        event.last_event_time.CopyFrom(clock.to_timestamp(found.last_wall_ns))
    return Made(found.ran, event, found.urgent)


class Repeats:
    """Counts identical events of one image instead of keeping each."""

    FOLDED = frozenset(
        {
            "connect",
            "listen",
            "auth_failure",
            "firewall_change",
            "privilege_use",
            "agent_status",
            "exec_failure",
            "namespace_change",
            "process_access",
            "raw_socket",
        }
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
            where = f"{connect.protocol} {connect.remote_address} {connect.remote_port} "
            content = where.encode() + connect.path
            if connect.dns_names:
                content += b" " + " ".join(connect.dns_names).encode()
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
