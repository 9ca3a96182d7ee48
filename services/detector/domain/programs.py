"""Which program a command line runs, and what it asks of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from behaviour.generalise import PROGRAM_FOLDERS
from services.detector.domain.globs import Globs

_APPLETS_FOLLOW = frozenset([b"busybox", b"xtables-nft-multi", b"xtables-legacy-multi"])
_FOLDERS = frozenset(folder.encode() for folder in PROGRAM_FOLDERS)


@lru_cache(16_384)
def _name(path: bytes) -> bytes:
    """Return the base name of a program in a program folder; elsewhere it is an impostor."""
    folder, _, name = path.rpartition(b"/")
    return name if folder in _FOLDERS else b""


def names_of(executable: bytes, script: bytes) -> tuple[bytes, ...]:
    """Return the names by which the table may know a program: the script's, the executable's."""
    return tuple(name for name in (_name(script), _name(executable)) if name)


@dataclass(frozen=True, slots=True)
class Call:
    """A program that was run, as the table looks at it."""

    names: tuple[bytes, ...]
    script: bytes
    arguments: tuple[bytes, ...]
    """Without the program's own name, and without the script's."""

    @classmethod
    def of(
        cls,
        executable: bytes,
        script: bytes,
        arguments: tuple[bytes, ...],
        multi_call: frozenset[bytes],
    ) -> "Call":
        """Read a command line."""
        names = names_of(executable, script)
        rest = arguments[1:]
        if script and rest:
            # argv of a script: interpreter, its options, the script, its arguments.
            for place, argument in enumerate(arguments):
                if argument == script or argument.endswith(b"/" + script.rpartition(b"/")[2]):
                    rest = arguments[place + 1 :]
                    break
        if arguments and not multi_call.isdisjoint(names):
            called = arguments[0].rpartition(b"/")[2]
            if called in _APPLETS_FOLLOW and rest:
                called, rest = rest[0], rest[1:]
            # Who calls systemctl by another name still gets systemctl: both names count.
            if called not in names:
                names = (called, *names)
        return cls(names, script, tuple(rest))


@dataclass(frozen=True, slots=True)
class ProgramRule:
    """One line of `programs`; what each field means is said in activities.yaml."""

    names: frozenset[bytes]
    paths: Globs
    verbs: frozenset[bytes]
    verb_at: int
    any: re.Pattern[bytes] | None
    values: frozenset[bytes]
    unless: frozenset[bytes]
    unless_first: frozenset[bytes]
    second_of: frozenset[bytes]
    second_unless: frozenset[bytes]
    targets: str
    suffix: bytes
    read_only: bool

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> "ProgramRule":
        """Read one."""

        def some(key: str) -> frozenset[bytes]:
            return frozenset(word.encode() for word in rule.get(key, ()))

        patterns = "|".join(f"(?:{pattern})" for pattern in rule.get("any", ()))
        return cls(
            names=some("names"),
            paths=Globs(rule.get("paths", ())),
            verbs=some("verbs"),
            verb_at=rule.get("verb_at", 0),
            any=re.compile(patterns.encode()) if patterns else None,
            values=some("values"),
            unless=some("unless"),
            unless_first=some("unless_first"),
            second_of=some("second_of"),
            second_unless=some("second_unless"),
            targets=rule.get("targets", ""),
            suffix=rule.get("suffix", "").encode(),
            read_only=rule.get("read_only", False),
        )

    def match(self, call: Call) -> bool:
        """Whether `call` (whose name already fits) does what this rule is about."""
        arguments = call.arguments
        if self.unless and not self.unless.isdisjoint(arguments):
            return False
        if arguments and arguments[0] in self.unless_first:
            return False
        if self.any is not None and not any(self.any.fullmatch(a) for a in arguments):
            return False
        if not self.verbs:
            return True
        words = positional(arguments, self.values)
        if len(words) <= self.verb_at or words[self.verb_at] not in self.verbs:
            return False
        second = words[self.verb_at + 1 : self.verb_at + 2]
        return not (
            words[self.verb_at] in self.second_of
            and (not second or second[0] in self.second_unless)
        )

    def targets_of(self, call: Call) -> tuple[bytes, ...]:
        """Return the services that `call` is done to."""
        words = positional(call.arguments, self.values)
        if self.targets == "rest":
            found = words[self.verb_at + 1 :]
        elif self.targets == "first":
            found = words[:1]
        elif self.targets == "name":
            found = (call.script.rpartition(b"/")[2],)
        else:
            found = ()
        return tuple(word if b"." in word else word + self.suffix for word in found)


def positional(arguments: tuple[bytes, ...], values: frozenset[bytes]) -> tuple[bytes, ...]:
    """Return the arguments that are neither options nor the values of options in `values`."""
    found: list[bytes] = []
    skip = False
    for place, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument == b"--":
            found += arguments[place + 1 :]
            break
        elif argument.startswith(b"-") and len(argument) > 1:
            skip = argument in values
        else:
            found.append(argument)
    return tuple(found)
