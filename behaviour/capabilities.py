"""Capabilities: named sets of programs that may be run and files that may be changed, as data."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import yaml

from behaviour.generalise import PROGRAM_FOLDERS

CACHED_PATHS = 16_384
_ACCESSES = ("write", "read", "connect")


@dataclass(frozen=True, slots=True)
class Capability:
    """One entry of capabilities.yaml; what each field means is said there."""

    name: str
    description: str
    programs: tuple[str, ...]
    files: tuple[str, ...]
    access: str
    sensed: bool


@cache
def capabilities() -> tuple[Capability, ...]:
    """Return all capabilities, sorted by name.

    Raises:
        ValueError: the packaged data is not as its comment says.
    """
    text = (files(__package__) / "capabilities.yaml").read_text(encoding="utf-8")
    found = tuple(sorted((_entry(entry) for entry in yaml.safe_load(text)), key=lambda c: c.name))
    if len({capability.name for capability in found}) != len(found):
        raise ValueError("capabilities.yaml names a capability twice")
    return found


def _entry(entry: dict[str, Any]) -> Capability:
    capability = Capability(
        name=entry["name"],
        description=entry["description"],
        programs=tuple(entry["programs"]),
        files=tuple(entry["files"]),
        access=entry["access"],
        sensed=entry["sensed"],
    )
    if capability.access not in _ACCESSES:
        raise ValueError(f"{capability.name}: access {capability.access!r} is none of {_ACCESSES}")
    if any("/" in p and not p.startswith("/") for p in (*capability.programs, *capability.files)):
        raise ValueError(f"{capability.name}: a path is absolute, or a base name")
    return capability


@lru_cache(CACHED_PATHS)
def of_program(path: str) -> tuple[str, ...]:
    """Names of the capabilities that running the program at `path` (links resolved) obtains."""
    return _programs().get(path, ())


@lru_cache(CACHED_PATHS)
def of_file(path: str) -> tuple[str, ...]:
    """Names of the capabilities that changing the file at `path` obtains."""
    found = list(_globs()[1].get(path, ()))
    # Only entries that share the path's first folder are tried: a handful.
    for name, pattern in _globs()[0].get(_key(path), ()):
        if name not in found and pattern.fullmatch(path):
            found.append(name)
    return tuple(sorted(found))


@lru_cache(CACHED_PATHS)
def of_socket(path: str) -> tuple[str, ...]:
    """Names of the capabilities that connecting to the unix socket at `path` obtains."""
    return tuple(c.name for c in capabilities() if c.access == "connect" and path in c.files)


@cache
def _programs() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for capability in capabilities():
        if not capability.sensed:
            continue
        for program in capability.programs:
            paths = (
                [program]
                if program.startswith("/")
                else [f"{folder}/{program}" for folder in PROGRAM_FOLDERS]
            )
            for path in paths:
                table[path] = (*table.get(path, ()), capability.name)
    return table


@cache
def _globs() -> tuple[dict[str, list[tuple[str, re.Pattern[str]]]], dict[str, list[str]]]:
    """File patterns by the start that a matching path must have, and exact paths."""
    starts: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    exact: dict[str, list[str]] = {}
    for capability in capabilities():
        if not (capability.sensed and capability.access == "write"):
            continue
        for glob in capability.files:
            if any(sign in glob for sign in "*["):
                starts.setdefault(_key(glob), []).append((capability.name, _pattern(glob)))
            else:
                exact.setdefault(glob, []).append(capability.name)
    return starts, exact


def _key(path: str) -> str:
    return path[1:].partition("/")[0]


def _pattern(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\[[^\]]+\])", glob)
    signs = {"**": ".*", "*": "[^/]*"}
    return re.compile(
        "".join(
            signs.get(part) or (part if part.startswith("[") else re.escape(part)) for part in parts
        ),
        re.DOTALL,
    )
