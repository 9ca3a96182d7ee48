"""System calls as audit tells them: who called, and the program that an execve started."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_fields import read, text_of
from agent.sensors.records import UNSET_ID, ProcessRecord

MOST_ARGUMENTS: Final = 4096
MOST_ARGUMENT_BYTES: Final = 64 << 10
"""Of all arguments together; what is beyond is cut."""
_CALL = re.compile(
    rb"arch=(\w+) syscall=(\w+)(?: per=\w+)? success=(\w+) exit=(-?\w+) a0=(\w+) a1=(\w+) a2=(\w+)"
    rb" a3=(\w+) items=\d+ ppid=(\d{1,10}) pid=(\d{1,10}) auid=(\d{1,10}) uid=(\d{1,10})"
    rb" gid=\d+ euid=(\d{1,10}) suid=\d+ fsuid=\d+ egid=\d+ sgid=\d+ fsgid=\d+ tty=(\S+)"
    rb' ses=(\d{1,10}) comm=(?:"[^"]*"|\S+) exe=("[^"]*"|\S+)'
)
"""As kernels since 2.6.39 write it: names in another order are read one by one."""
_ARGUMENT = re.compile(rb'\ba(\d{1,7})(?:\[(\d{1,7})\]|(_len))?=("[^"]*"|\S*)')
_WORKING_DIRECTORY = re.compile(rb' ?cwd=("[^"]*"|[^\s\x1d]+)')
_NAME = re.compile(rb'name=("[^"]*"|[^\s\x1d]+)')
_FIRST_ITEM: Final = b"item=0 "
_DELETED: Final = b" (deleted)"
_MOST_ID: Final = (1 << 32) - 1


class Call(NamedTuple):
    """A SYSCALL record: one system call of one process."""

    architecture: bytes
    """As the kernel numbers them, e.g. c000003e."""
    number: bytes
    succeeded: bool
    result: bytes
    """Its return value; a negative one is an errno."""
    arguments: tuple[bytes, bytes, bytes, bytes]
    """The first four, hexadecimal."""
    ppid: int
    pid: int
    login_user_id: int
    user_id: int
    effective_user_id: int
    terminal: str
    """"pts/1", "tty1", or "" when there is none."""
    session_id: int
    executable: bytes


def call_of(event: KernelEvent) -> Call | None:
    """Return the system call of an event; None when it is none, or nobody can be named."""
    text = event.text("SYSCALL")
    if text is None:
        return None
    found = _CALL.match(text)
    if found is None:
        return _call_from_fields(read("SYSCALL", text))
    said = found.groups()
    executable = said[15]
    return Call(
        architecture=said[0],
        number=said[1],
        succeeded=said[2] == b"yes",
        result=said[3],
        arguments=(said[4], said[5], said[6], said[7]),
        ppid=int(said[8]),
        pid=int(said[9]),
        login_user_id=int(said[10]),
        user_id=int(said[11]),
        effective_user_id=int(said[12]),
        terminal=terminal_of(said[13]),
        session_id=int(said[14]),
        executable=program_of(executable[1:-1] if executable[:1] == b'"' else text_of(executable)),
    )


def _call_from_fields(fields: Mapping[str, bytes]) -> Call | None:
    pid = _id(fields.get("pid", b""), 0)
    if not pid:
        return None
    return Call(
        fields.get("arch", b""),
        fields.get("syscall", b""),
        fields.get("success", b"") == b"yes",
        fields.get("exit", b""),
        (
            fields.get("a0", b""),
            fields.get("a1", b""),
            fields.get("a2", b""),
            fields.get("a3", b""),
        ),
        _id(fields.get("ppid", b""), 0),
        pid,
        _id(fields.get("auid", b""), UNSET_ID),
        _id(fields.get("uid", b""), UNSET_ID),
        _id(fields.get("euid", b"") or fields.get("uid", b""), UNSET_ID),
        terminal_of(fields.get("tty", b"")),
        _id(fields.get("ses", b""), UNSET_ID),
        program_of(fields.get("exe", b"")),
    )


def _id(raw: bytes, otherwise: int) -> int:
    if raw.isdigit() and len(raw) <= len(str(_MOST_ID)):
        return min(int(raw), _MOST_ID)
    return otherwise


@lru_cache(maxsize=1024)
def terminal_of(raw: bytes) -> str:
    """Return a terminal as we name it: audit's "pts1" and "/dev/pts/1" are "pts/1"."""
    if raw in (b"(none)", b"", b"?"):
        return ""
    name = raw.removeprefix(b"/dev/").decode("utf-8", "backslashreplace")
    return f"pts/{name[3:]}" if name.startswith("pts") and name[3:].isdigit() else name


def program_of(executable: bytes) -> bytes:
    """Return the path of an executable that may be gone by now."""
    return executable.removesuffix(_DELETED)


def exec_of(
    event: KernelEvent,
    wall_minus_boot_ns: int,
    *,
    call: Call | None = None,
    start_ns: int | None = None,
) -> ProcessRecord | None:
    """Return the program that an event's execve started; None when it is none, or failed.

    Args:
        event: whole.
        wall_minus_boot_ns: wall clock minus boot clock; records bear wall time.
        call: its system call, when it is known already.
        start_ns: when the process was forked (boot clock), where that is known: audit does not
            say it. Else it is taken to begin here.
    """
    if "EXECVE" not in event.kinds:
        return None
    call = call or call_of(event)
    if call is None or not call.succeeded:
        return None
    arguments, cut = arguments_of(event)
    # Stamps are milliseconds, and a process may run several programs in one: the serial, which
    # is less than one more, tells them apart.
    boot_ns = event.wall_ns + event.serial % 1_000_000 - wall_minus_boot_ns
    return ProcessRecord(
        kind="exec",
        boot_ns=boot_ns,
        start_ns=boot_ns if start_ns is None else start_ns,
        pid=call.pid,
        ppid=call.ppid,
        session_leader=0,
        user_id=call.user_id,
        effective_user_id=call.effective_user_id,
        login_user_id=call.login_user_id,
        session_id=call.session_id,
        terminal=call.terminal,
        exit_status=0,
        requested_path=_requested_path(event),
        executable=call.executable,
        arguments=arguments,
        arguments_cut=cut,
        working_directory=working_directory_of(event),
        cgroup="",
        exact=True,
    )


def _requested_path(event: KernelEvent) -> bytes:
    """Return the path that was asked for: the others are the interpreter's and the linker's."""
    for text in event.all("PATH"):
        if text.startswith(_FIRST_ITEM):
            found = _NAME.match(text, len(_FIRST_ITEM))
            return text_of(found[1]) if found is not None else b""
    return b""


def working_directory_of(event: KernelEvent) -> bytes:
    """Return the folder in which a call's process worked; b"" when no record says it."""
    text = event.text("CWD")
    found = _WORKING_DIRECTORY.match(text) if text is not None else None
    return text_of(found[1]) if found is not None else b""


def arguments_of(event: KernelEvent) -> tuple[tuple[bytes, ...], bool]:
    """Return argv as EXECVE records tell it, and whether some of it is missing.

    Long arguments come in pieces (a1_len=… a1[0]=… a1[1]=…), many of them in several records.
    """
    whole: dict[int, bytes] = {}
    pieces: dict[int, dict[int, bytes]] = {}
    lengths: dict[int, int] = {}
    stated, room = 0, MOST_ARGUMENT_BYTES
    for said in event.all("EXECVE"):
        text = said.partition(b"\x1d")[0]
        if text.startswith(b"argc="):
            digits = text[5 : text.find(b" ") if b" " in text else None]
            stated = int(digits) if digits.isdigit() and len(digits) < 8 else 0  # noqa: PLR2004
        for number, piece, is_length, raw in _ARGUMENT.findall(text):
            place = int(number)
            room -= len(raw)
            if place >= MOST_ARGUMENTS or room < 0:
                break
            if piece:
                pieces.setdefault(place, {})[int(piece)] = text_of(raw)
            elif is_length:
                lengths[place] = int(raw) if raw.isdigit() and len(raw) < 10 else 0  # noqa: PLR2004
            else:
                whole[place] = raw[1:-1] if raw[:1] == b'"' else text_of(raw)
    for place, parts in pieces.items():
        whole.setdefault(place, b"".join(parts[at] for at in sorted(parts)))
    # The kernel states the length as written: twice as many digits in hexadecimal.
    cut = len(whole) < stated or any(
        len(whole.get(place, b"")) < length // 2 for place, length in lengths.items()
    )
    return tuple(whole[place] for place in sorted(whole)), cut or room < 0
