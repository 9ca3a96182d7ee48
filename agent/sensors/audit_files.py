"""File changes as audit tells them: the PATH records of a system call that names files.

CREATE and DELETE say what became of a name; what was done to a file that had its name before and
after (NORMAL) follows from the call.
"""

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import Call, number_of, working_directory_of
from agent.sensors.audit_fields import text_of
from agent.sensors.records import FileRecord

_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_WORKING_DIRECTORY: Final = (b"ffffff9c", b"ffffffffffffff9c")
"""AT_FDCWD, as a 32 or 64 bit argument."""
_PATH = re.compile(
    rb'(?:item=\d+ )?name=("[^"]*"|\S+)(?=.*? (?:nametype|objtype)=(\w+))(?:.*? mode=([0-7]{1,7}))?'
)
_CALLS: Final = {
    # name: x86_64, i386 and aarch64 numbers (None: it has none)
    "open": (2, 5, None),
    "openat": (257, 295, 56),
    "creat": (85, 8, None),
    "truncate": (76, 92, 45),
    "truncate64": (None, 193, None),
    "ftruncate": (77, 93, 46),
    "ftruncate64": (None, 194, None),
    "rename": (82, 38, None),
    "renameat": (264, 302, 38),
    "renameat2": (316, 353, 276),
    "link": (86, 9, None),
    "linkat": (265, 303, 37),
    "chmod": (90, 15, None),
    "fchmod": (91, 94, 52),
    "fchmodat": (268, 306, 53),
    "fchmodat2": (452, 452, 452),
    "chown": (92, 182, None),
    "fchown": (93, 95, 55),
    "lchown": (94, 16, None),
    "chown32": (None, 212, None),
    "fchown32": (None, 207, None),
    "lchown32": (None, 198, None),
    "fchownat": (260, 298, 54),
    "setxattr": (188, 226, 5),
    "lsetxattr": (189, 227, 6),
    "fsetxattr": (190, 228, 7),
    "removexattr": (197, 235, 14),
    "lremovexattr": (198, 236, 15),
    "fremovexattr": (199, 237, 16),
    "utime": (132, 30, None),
    "utimes": (235, 271, None),
    "futimesat": (261, 299, None),
    "utimensat": (280, 320, 88),
    "unlinkat": (263, 301, 35),
    "mkdirat": (258, 296, 34),
    "mknodat": (259, 297, 33),
    "symlinkat": (266, 304, 36),
}
_ARCHITECTURES: Final = (b"c000003e", b"40000003", b"c00000b7")
_NAMES: Final = {
    (architecture, b"%d" % number): name
    for name, numbers in _CALLS.items()
    for architecture, number in zip(_ARCHITECTURES, numbers, strict=True)
    if number is not None
}
_OPEN_FLAGS: Final = {"open": 1, "openat": 2}
_MODE: Final = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2}
_OWNER: Final = {"chown": 1, "fchown": 1, "lchown": 1, "fchownat": 2} | {
    "chown32": 1,
    "fchown32": 1,
    "lchown32": 1,
}
_UNCHANGED_ID: Final = 0xFFFFFFFF


class _Path(NamedTuple):
    name: bytes
    type: bytes
    """"NORMAL", "CREATE", "DELETE", "PARENT", "UNKNOWN"."""
    directory: bool


def files_of(event: KernelEvent, call: Call) -> Iterator[FileRecord]:
    """Yield the changes to files that an event's system call made.

    A name relative to an open folder cannot be made absolute, and is left out.
    """
    paths = list(_paths(event, call)) if call.succeeded else []
    if not paths:
        return
    created = [path for path in paths if path.type == b"CREATE"]
    deleted = [path for path in paths if path.type == b"DELETE"]
    name = _NAMES.get((call.architecture, call.number), "")
    if name.startswith("rename") and created and deleted:
        # Of two deleted names the second stood where the first was moved to.
        yield _change(event, call, "renamed", created[-1], previous=deleted[0].name)
        return
    for path in created:
        yield _change(event, call, "linked" if name.startswith("link") else "created", path)
    for path in deleted:
        yield _change(event, call, "deleted", path)
    if not created and not deleted:
        for path in paths:
            if path.type == b"NORMAL" and (operation := _operation(name, call)):
                yield _change(event, call, operation, path, name=name)


def _operation(name: str, call: Call) -> str:
    """Return what a call does to a file that is there; "" when it changes nothing."""
    place = _OPEN_FLAGS.get(name)
    if place is not None:
        return "modified" if number_of(call.arguments[place]) & _WRITES else ""
    if name.startswith(("truncate", "ftruncate", "creat")):
        return "modified"
    if name in _MODE or name in _OWNER or name.startswith("utime") or "xattr" in name:
        return "attributes"
    return ""


def _change(
    event: KernelEvent,
    call: Call,
    operation: str,
    path: _Path,
    *,
    previous: bytes = b"",
    name: str = "",
) -> FileRecord:
    mode = owner = group = None
    if name in _MODE:  # the record of the path tells what was before
        mode = stat.S_IMODE(number_of(call.arguments[_MODE[name]]))
    elif name in _OWNER:
        owner, group = (
            None if each == _UNCHANGED_ID else each
            for each in (
                number_of(call.arguments[_OWNER[name] + further]) & _UNCHANGED_ID
                for further in (0, 1)
            )
        )
    return FileRecord(
        operation,
        event.wall_ns,
        call.pid,
        path.name,
        previous,
        path.directory,
        mode=mode,
        owner_id=owner,
        group_id=group,
    )


def _paths(event: KernelEvent, call: Call) -> Iterator[_Path]:
    """Yield the names that a call was about, absolute."""
    folder: bytes | None = None
    for text in event.all("PATH"):
        found = _PATH.match(text)
        if found is None:
            continue
        raw, type_, mode = found.groups()
        if type_ in (b"PARENT", b"UNKNOWN") or raw == b"(null)":
            continue
        name = text_of(raw)
        if not name.startswith(b"/"):
            if _in_open_folder(call):
                continue
            folder = working_directory_of(event) if folder is None else folder
            if not folder.startswith(b"/"):
                continue
            name = posixpath.normpath(folder + b"/" + name)
        directory = mode is not None and stat.S_ISDIR(int(mode, 8))
        yield _Path(name if name == b"/" else name.rstrip(b"/"), type_, directory)


def _in_open_folder(call: Call) -> bool:
    """Whether names of this call may be relative to something else than the working directory."""
    name = _NAMES.get((call.architecture, call.number), "")
    if name == "symlinkat":
        return call.arguments[1] not in _WORKING_DIRECTORY
    if name.startswith(("rename", "link")) and "at" in name:
        return not {call.arguments[0], call.arguments[2]} <= set(_WORKING_DIRECTORY)
    return (
        "at" in name[-4:]
        and name.startswith(
            ("open", "fchmodat", "fchownat", "utimensat", "futimesat", "unlink", "mkdir", "mknod")
        )
        and call.arguments[0] not in _WORKING_DIRECTORY
    )
