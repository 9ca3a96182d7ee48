"""Every pattern of the watch list has an activity, or it is said why not."""

import pytest
import yaml

from agent.sensors.watchlist import DEFAULT_FILE
from nightherd.event.v1 import event_pb2 as events
from services.detector import packaged

DOCUMENT = yaml.safe_load(DEFAULT_FILE.read_text())
TABLE = packaged.table()
_Change = events.FileChange
OPERATIONS = {
    "created": _Change.OPERATION_CREATED,
    "modified": _Change.OPERATION_MODIFIED,
    "deleted": _Change.OPERATION_DELETED,
    "renamed": _Change.OPERATION_RENAMED,
    "truncated": _Change.OPERATION_TRUNCATED,
}


def instances(pattern):
    """Paths that a pattern matches; homes outside of /home count, too."""
    shapes = [pattern]
    if pattern.endswith("/**"):
        top = pattern.removesuffix("/**")
        shapes = [top, f"{top}/x", f"{top}/x/y"]
    elif "/**/" in pattern:
        shapes = [pattern.replace("/**/", "/"), pattern.replace("/**/", "/x/y/")]
    plain = [shape.replace("*", "x").replace("?", "x") for shape in shapes]
    if not pattern.startswith("~/"):
        return plain
    homes = ("/root", "/home/alice", "/srv/people/eve")
    return [home + path[1:] for path in plain for home in homes]


def told_of(entry):
    """Operations that the agent tells: growth of a log is none, and only a log can be cut short."""
    return set(OPERATIONS) - {"modified" if entry.get("changes") == "structure" else "truncated"}


def excuses(entry):
    """(pattern or "all", operations, why) of an entry."""
    return [
        (path, set(each.get("operations", told_of(entry))), each["why"])
        for each in entry.get("no_activity", ())
        for path in each["paths"]
    ]


def silent(pattern):
    """(path, operation) of a pattern that make no activity."""
    found = set()
    for path in instances(pattern):
        for name, operation in OPERATIONS.items():
            place = TABLE.place(path.encode(), operation)
            if place is None or place.also:
                found.add((path, name))
    return found


PATTERNS = [
    pytest.param(entry, pattern, id=f"{entry['name']} {pattern}")
    for entry in DOCUMENT["entries"]
    for pattern in entry["paths"]
]


@pytest.mark.parametrize(("entry", "pattern"), PATTERNS)
def test_a_watched_pattern_has_an_activity_or_a_reason_why_not(entry, pattern):
    excused = {
        operation
        for path, operations, why in excuses(entry)
        if path in (pattern, "all") and why
        for operation in operations
    }
    due = told_of(entry) - excused
    missing = {(path, name) for path, name in silent(pattern) if name in due}
    assert missing == set(), f"{pattern} has no activity; add one, or say why not (no_activity)"


def test_nothing_is_excused_for_nothing():
    for entry in DOCUMENT["entries"]:
        for path, operations, _ in excuses(entry):
            patterns = entry["paths"] if path == "all" else [path]
            found = {name for pattern in patterns for _, name in silent(pattern)}
            assert operations <= found, (entry["name"], path)


def test_each_excuse_names_a_pattern_of_its_entry_or_a_name_that_is_noise():
    for entry in DOCUMENT["entries"]:
        for path, _, _ in excuses(entry):
            assert path == "all" or path in entry["paths"] or silent(path), path
