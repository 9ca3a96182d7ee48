"""The table of activities: what it holds, and how it is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain.globs import Globs
from services.detector.domain.programs import Call, ProgramRule, names_of

Type: TypeAlias = "pb.ActivityType.ValueType"
Operation: TypeAlias = "events.FileChange.Operation.ValueType"

CACHED_PATHS = 32_768
MAX_CACHED_PATH_BYTES = 512
"""Longer paths are judged anew each time, so that hostile names cannot fill the memory."""

RIGHTS = 0o6000
"""setuid and setgid: on a program, it runs with the rights of its owner or group."""
CAPABILITIES = "security.capability"
"""The extended attribute that gives a program rights of root."""
_ATTRIBUTES = events.FileChange.OPERATION_ATTRIBUTES
_KINDS_OF: Mapping[Operation, Operation] = {
    events.FileChange.OPERATION_LINKED: events.FileChange.OPERATION_CREATED,
    events.FileChange.OPERATION_TRUNCATED: events.FileChange.OPERATION_MODIFIED,
}
"""Operations that are a kind of another: what counts for that one counts for them."""
_ALL_BUT_ATTRIBUTES = frozenset(events.FileChange.Operation.values()) - {_ATTRIBUTES}


def type_of_name(name: str) -> Type:
    """Return the activity type that the console calls `name`, e.g. "accounts modified".

    Raises:
        ValueError: there is none.
    """
    return pb.ActivityType.Value(f"ACTIVITY_TYPE_{name.upper().replace(' ', '_')}")


def name_of_type(type_: Type) -> str:
    """Return what the console calls `type_`."""
    return pb.ActivityType.Name(type_).removeprefix("ACTIVITY_TYPE_").replace("_", " ").lower()


def gives_rights(change: events.FileChange.Change) -> bool:
    """Whether a program got rights of its owner or group, or capabilities: it has, or was to."""
    mode = change.mode | change.requested_mode
    return bool(mode & RIGHTS) or change.attribute == CAPABILITIES


@dataclass(frozen=True, slots=True)
class FileRule:
    """Globs of paths, and the operations that count on them."""

    globs: Globs
    operations: frozenset[Operation]


@dataclass(frozen=True, slots=True)
class Entry:
    """One type of activity; what each field means is said in activities.yaml."""

    type: Type
    files: tuple[FileRule, ...]
    also: Globs
    programs: tuple[ProgramRule, ...]
    group_names: frozenset[bytes]
    group_paths: Globs
    absorbs: bool
    events: frozenset[str]
    sockets: Globs
    routine: Globs
    rights: bool = False

    def groups(self, executable: bytes, script: bytes) -> bool:
        """Whether this program is one of those that make up one action of this type."""
        return not self.group_names.isdisjoint(names_of(executable, script)) or (
            bool(script) and self.group_paths.match(script)
        )


@dataclass(frozen=True, slots=True)
class Place:
    """What a changed path means: the type it makes, or (`also`) only goes with."""

    type: Type
    also: bool


class Table:
    """All entries, with look-ups that cost the same whatever the table's size."""

    def __init__(
        self,
        entries: Sequence[Entry],
        noise: Globs,
        multi_call: frozenset[bytes],
        taken: re.Pattern[bytes],
    ) -> None:
        """Use `entries` in their order; see `parse` for the others."""
        self.entries = {entry.type: entry for entry in entries}
        self.multi_call = multi_call
        self.by_event = {kind: entry.type for entry in entries for kind in entry.events}
        self.rights_type = next((entry.type for entry in entries if entry.rights), None)
        """The type that a file with setuid or setgid makes."""
        self._noise, self._taken = noise, taken
        self._absorbing = tuple(entry for entry in entries if entry.absorbs)
        self._programs: dict[bytes, list[tuple[Type, ProgramRule]]] = {}
        self._script_paths: list[tuple[Type, ProgramRule]] = []
        for entry in entries:
            for rule in entry.programs:
                for name in rule.names:
                    self._programs.setdefault(name, []).append((entry.type, rule))
                if rule.paths.globs:
                    self._script_paths.append((entry.type, rule))
        self._known = frozenset(self._programs) | multi_call
        self._sockets = tuple(
            (entry.sockets, entry.type) for entry in entries if entry.sockets.globs
        )
        self._cached_place = lru_cache(CACHED_PATHS)(self._place)

    def place(self, path: bytes, operation: Operation) -> Place | None:
        """Return what a change of `path` means, or None."""
        if len(path) > MAX_CACHED_PATH_BYTES:
            return self._place(path, operation)
        return self._cached_place(path, operation)

    def _place(self, path: bytes, operation: Operation) -> Place | None:
        for entry in self.entries.values():
            for rule in entry.files:
                if operation in rule.operations and rule.globs.match(path):
                    return None if self.is_noise(path) else Place(entry.type, also=False)
            if entry.also.match(path):
                return Place(entry.type, also=True)
        return None

    def socket(self, path: bytes) -> "Type | None":
        """Return the type that connecting to the unix socket at `path` makes."""
        return next((type_ for globs, type_ in self._sockets if globs.match(path)), None)

    def is_noise(self, path: bytes) -> bool:
        """Whether a name is one that is made for a moment, and that nobody takes up meanwhile."""
        return self._noise.match(path) and self._taken.fullmatch(path) is None

    def gave_rights(self, path: bytes) -> "Place | None":
        """Return what it means that the file of this name now runs with its owner's rights."""
        if self.rights_type is None or self.is_noise(path):
            return None
        return Place(self.rights_type, also=False)

    def absorbed(self, executable: bytes, script: bytes) -> "Type | None":
        """Return the type that takes all that this program changes; None for most programs."""
        for entry in self._absorbing:
            if entry.groups(executable, script):
                return entry.type
        return None

    def may_run(self, names: tuple[bytes, ...], script: bytes) -> bool:
        """Whether a program of these names could make an activity; arguments not looked at."""
        return not self._known.isdisjoint(names) or bool(
            script and any(rule.paths.match(script) for _, rule in self._script_paths)
        )

    def runs(self, call: Call) -> tuple[Type, ProgramRule] | None:
        """Return the type that running `call` makes, and by which rule."""
        for name in call.names:
            for type_, rule in self._programs.get(name, ()):
                if rule.match(call):
                    return type_, rule
        for type_, rule in self._script_paths:
            if call.script and rule.paths.match(call.script) and rule.match(call):
                return type_, rule
        return None


def parse(document: Mapping[str, Any]) -> Table:
    """Read activities.yaml.

    Raises:
        ValueError: a type or an operation is unknown, or stands there twice.
    """
    entries = [_entry(item) for item in document["types"]]
    if len({entry.type for entry in entries}) != len(entries):
        raise ValueError("activities.yaml has a type twice")
    multi_call = frozenset(name.encode() for name in document["multi_call"])
    taken = re.compile("|".join(f"(?:{each})" for each in document["taken"]).encode(), re.DOTALL)
    return Table(entries, Globs(document["noise"]), multi_call, taken)


def _entry(item: Mapping[str, Any]) -> Entry:
    group = item.get("group", ())
    return Entry(
        type=type_of_name(item["type"]),
        files=tuple(
            FileRule(Globs(rule["paths"]), _operations(rule)) for rule in item.get("files", ())
        ),
        also=Globs(item.get("also", ())),
        programs=tuple(ProgramRule.parse(rule) for rule in item.get("programs", ())),
        group_names=frozenset(name.encode() for name in group if not name.startswith("/")),
        group_paths=Globs(name for name in group if name.startswith("/")),
        absorbs=item.get("absorbs", False),
        events=frozenset(item.get("events", ())),
        rights=item.get("rights", False),
        sockets=Globs(item.get("sockets", ())),
        routine=Globs(item.get("routine", ())),
    )


def _operations(rule: Mapping[str, Any]) -> frozenset[Operation]:
    if "operations" not in rule:
        return _ALL_BUT_ATTRIBUTES
    named = {
        events.FileChange.Operation.Value(f"OPERATION_{name.upper()}")
        for name in rule["operations"]
    }
    return frozenset(named | {kind for kind, of in _KINDS_OF.items() if of in named})
