"""fanotify in FID mode through ctypes: marks, file handles, and the shape of its events.

In FID mode an event names the folder by a file handle and the thing in it by name; the kernel needs
no open file for it, and says which process did it. References: fanotify(7), fanotify_mark(2).
"""

import ctypes
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_uint, c_uint64, c_void_p
from struct import Struct
from typing import Final

CREATE: Final = 0x100
DELETE: Final = 0x200
MODIFY: Final = 0x2
OPEN: Final = 0x20
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
RENAME: Final = 0x1000_0000
ON_FOLDER: Final = 0x4000_0000
ON_CHILD: Final = 0x0800_0000
OVERFLOW: Final = 0x4000

INFO_TARGET: Final = 1
INFO_NAME: Final = 2
INFO_OLD_NAME: Final = 10
INFO_NEW_NAME: Final = 12

MARK_ADD: Final = 0x1
MARK_REMOVE: Final = 0x2
MARK_DONT_FOLLOW: Final = 0x4
MARK_ONLY_FOLDERS: Final = 0x8
MARK_FILESYSTEM: Final = 0x100

_CLOEXEC_NONBLOCK: Final = 0x3
_REPORT_FOLDER_AND_NAME: Final = 0xC00
_REPORT_TARGET_TOO: Final = 0x1200
_REPORT_TARGET_OF_CHANGES: Final = 0x200
_UNLIMITED_MARKS: Final = 0x20
_O_PATH: Final = 0o10000000
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_HANDLE_FID: Final = 0x200
"""A handle that names a file and need not lead back to it (6.5): all that an overlay has."""
_HANDLE_BYTES: Final = 128

_METADATA = Struct("=IBBHQii")
_INFO = Struct("=BBH8sI")
_DELETED: Final = b" (deleted)"

_MATTERS_ANYWHERE: Final = RENAME | ON_FOLDER | OVERFLOW | OPEN | MODIFY | CLOSE_WRITE | ATTRIB
"""Changes that are told of a file that is marked itself, whatever name it is changed under."""

Info = tuple[int, bytes, bytes]
"""Kind; key of a folder or file (fsid and handle); name in that folder, b"" for INFO_TARGET."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_init.argtypes = [c_uint, c_uint]
_libc.fanotify_mark.argtypes = [c_int, c_uint, c_uint64, c_int, c_char_p]
_libc.open_by_handle_at.argtypes = [c_int, c_void_p, c_int]
_libc.name_to_handle_at.argtypes = [c_int, c_char_p, c_void_p, c_void_p, c_int]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def open_group() -> int:
    """A group that reports folder and name of each event, and what was touched where it can.

    Raises:
        OSError: Not permitted (needs CAP_SYS_ADMIN), or a kernel before 5.9.
    """
    flags = _CLOEXEC_NONBLOCK | _REPORT_FOLDER_AND_NAME | _UNLIMITED_MARKS
    mode = os.O_RDONLY | os.O_CLOEXEC
    fd: int = _libc.fanotify_init(flags | _REPORT_TARGET_TOO, mode)  # 5.17, 5.10.220
    if fd >= 0:
        return fd
    return _checked(_libc.fanotify_init(flags | _REPORT_TARGET_OF_CHANGES, mode), "fanotify_init")


def mark(group: int, flags: int, mask: int, path: bytes | None, folder: int = _AT_FDCWD) -> None:
    """Add a mark on what a path names (None: on an open folder), or on the filesystem it is on.

    Raises:
        OSError: It is gone, or its filesystem cannot be watched so.
    """
    _checked(_libc.fanotify_mark(group, flags | MARK_ADD, mask, folder, path), "fanotify_mark")


def unmark(group: int, mask: int, path: bytes) -> None:
    """Take a mark away again; nothing happens when there is none."""
    _libc.fanotify_mark(group, MARK_REMOVE, mask, _AT_FDCWD, path)


def key_of(fd: int) -> bytes | None:
    """The key under which events name an open folder or file; None when there are no handles."""
    handle = ctypes.create_string_buffer(8 + _HANDLE_BYTES)
    mount = c_int()
    for kind in (0, _AT_HANDLE_FID):
        ctypes.c_uint.from_buffer(handle).value = _HANDLE_BYTES
        flags = _AT_EMPTY_PATH | kind
        if _libc.name_to_handle_at(fd, b"", handle, ctypes.byref(mount), flags) == 0:
            size = ctypes.c_uint.from_buffer(handle).value
            return filesystem_of(fd) + handle.raw[: 8 + size]
    return None


def filesystem_of(place: bytes | int) -> bytes:
    """The id that keys of this filesystem begin with.

    Raises:
        OSError: The path is gone.
    """
    return os.statvfs(place).f_fsid.to_bytes(8, "little")


@contextmanager
def opened(key: bytes, on_same_filesystem: bytes) -> Iterator[int | None]:
    """A folder or file by its key; None when it is gone, or its handle does not lead back.

    Args:
        key: Its key from an event.
        on_same_filesystem: Any path there. Opened for the moment only: a descriptor that is kept
            would keep the filesystem from being unmounted.
    """
    fd = -1
    try:
        filesystem = os.open(on_same_filesystem, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        handle = ctypes.create_string_buffer(key[8:], len(key) - 8)
        fd = _libc.open_by_handle_at(filesystem, handle, _O_PATH | os.O_CLOEXEC)
    finally:
        os.close(filesystem)
    try:
        yield fd if fd >= 0 else None
    finally:
        if fd >= 0:
            os.close(fd)


def path_of(key: bytes, on_same_filesystem: bytes) -> bytes | None:
    """Where a folder is now; None when it is gone or cannot be reached. See `opened`."""
    with opened(key, on_same_filesystem) as fd:
        if fd is None:
            return None
        try:
            path = os.readlink(b"/proc/self/fd/%d" % fd)  # noqa: PTH115 - bytes
        except OSError:  # longer than a page
            return None
    return path.removesuffix(_DELETED) if path.startswith(b"/") else None


def events(buffer: bytes, foreign: Container[bytes]) -> Iterator[tuple[int, int, list[Info]]]:
    """The events in what a read gave: mask, thread group id, and what they are about.

    Births of files in a folder whose key is in `foreign` are left out, as early as can be: they are
    the many.
    """
    offset, size = 0, len(buffer)
    metadata, info = _METADATA.unpack_from, _INFO.unpack_from
    while offset < size:
        length, _, _, metadata_length, mask, _, pid = metadata(buffer, offset)
        end = offset + length
        at = offset + metadata_length
        if not mask & _MATTERS_ANYWHERE:
            handle_bytes = info(buffer, at)[4]
            if buffer[at + 4 : at + 20 + handle_bytes] in foreign:
                offset = end
                continue
        about: list[Info] = []
        while at < end:
            kind, _, info_length, _, handle_bytes = info(buffer, at)
            key_end = at + 20 + handle_bytes
            if kind == INFO_TARGET:
                about.append((kind, buffer[at + 4 : key_end], b""))
            elif kind in (INFO_NAME, INFO_OLD_NAME, INFO_NEW_NAME):
                name = buffer[key_end : at + info_length].split(b"\0", 1)[0]
                about.append((kind, buffer[at + 4 : key_end], name))
            at += info_length
        yield mask, pid, about
        offset = end
