"""Pieces of sentences about files: changed, read, hashed, and mounts that show or hide them."""

from collections.abc import Callable
from typing import Any

from chassis.text import show
from evidence import phrases
from nightherd.event.v1 import event_pb2 as events

Pieces = dict[str, str]
SET_USER_ID, SET_GROUP_ID = 0o4000, 0o2000
_CHANGE = events.FileChange
_OPERATIONS = {
    _CHANGE.OPERATION_CREATED: "created",
    _CHANGE.OPERATION_DELETED: "deleted",
    _CHANGE.OPERATION_TRUNCATED: "shortened",
    _CHANGE.OPERATION_LINKED: "linked",
    _CHANGE.OPERATION_ATTRIBUTES: "changed the attributes of",
}
_REFUSALS = {
    "size": "larger than the limit",
    "gone": "it was gone",
    "unreadable": "it could not be read",
    "changing": "it changed meanwhile",
}


def _file_change(said: events.FileChange) -> Pieces:
    paths = list(dict.fromkeys(change.path for change in said.changes))
    cut = f"; {said.changes_cut} further changes were left out" if said.changes_cut else ""
    if not paths:
        return {"changes": "changed files" + cut}
    first = said.changes[0]
    if first.operation == _CHANGE.OPERATION_RENAMED and first.previous_path:
        text = f"renamed {show(first.previous_path)} to {show(first.path)}"
    else:
        text = f"{_verb(first)} {show(first.path)}"
    return {"changes": text + phrases.files(len(paths) - 1) + cut}


def _verb(change: events.FileChange.Change) -> str:
    if change.operation == _CHANGE.OPERATION_ATTRIBUTES and not change.directory:
        mode = change.mode | change.requested_mode
        if mode & SET_USER_ID:
            return "set the setuid bit of"
        if mode & SET_GROUP_ID:
            return "set the setgid bit of"
        if change.attribute:
            return f"changed the attribute {show(change.attribute)} of"
    return _OPERATIONS.get(change.operation, "changed")


def _file_read(said: events.FileRead) -> Pieces:
    cut = f"; {said.reads_cut} further reads were left out" if said.reads_cut else ""
    if not said.reads:
        return {"secrets": "secrets" + cut}
    paths = list(dict.fromkeys(read.path for read in said.reads))
    return {"secrets": show(paths[0]) + phrases.files(len(paths) - 1) + cut}


def _file_hash(said: events.FileHash) -> Pieces:
    path = show(said.path) or "A file"
    if said.sha256:
        return {"hashed": f"{path} has the SHA-256 {said.sha256.hex()}"}
    why = _REFUSALS.get(said.refusal) or show(said.refusal) or "for an unknown reason"
    return {"hashed": f"{path} was not hashed: {why}"}


def _mount_change(said: events.MountChange) -> Pieces:
    change = events.MountChange
    source = show(said.source) or show(said.file_system) or "a file system"
    target = show(said.target) or "an unknown place"
    text = {
        change.OPERATION_MOUNTED: f"mounted {source} on {target}",
        change.OPERATION_UNMOUNTED: f"unmounted {target}",
        change.OPERATION_MOVED: f"moved a mount to {target}",
        change.OPERATION_BOUND: f"bound {source} to {target}",
        change.OPERATION_REMOUNTED: f"changed the flags of the mount on {target}",
    }.get(said.operation, f"changed the mount on {target}")
    if said.watched_paths:
        watched = show(said.watched_paths[0])
        text += f", where {watched}{phrases.files(len(said.watched_paths) - 1)} is watched"
    return {"mount": text}


OF_KIND: dict[str, Callable[[Any], Pieces]] = {
    "file_change": _file_change,
    "file_read": _file_read,
    "file_hash": _file_hash,
    "mount_change": _mount_change,
}
