"""System calls as audit tells them: who called, and the program that an execve started."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_fields import read, text_of
from agent.sensors.audit_numbers import CLONES
from agent.sensors.records import UNSET_ID, ProcessRecord

MOST_ARGUMENTS: Final = 4096
MOST_ARGUMENT_BYTES: Final = 64 << 10
"""Of all arguments together; what is beyond is cut."""
_CALL = re.compile(
    rb"arch=(\w+) syscall=(\w+)(?: per=\w+)? success=(\w+) exit=(-?\w+) a0=(\w+) a1=(\w+) a2=(\w+)"
    rb" a3=(\w+) items=\d+ ppid=(\d{1,10}) pid=(\d{1,10}) "
)
"""As kernels since 2.6.39 write it: names in another order are read one by one."""
_CALLER = re.compile(
    rb"auid=(\d{1,10}) uid=(\d{1,10}) gid=\d+ euid=(\d{1,10}) suid=\d+ fsuid=\d+ egid=\d+ sgid=\d+"
    rb' fsgid=\d+ tty=(\S+) ses=(\d{1,10}) comm=(?:"[^"]*"|\S+) exe=("[^"]*"|\S+)'
)
"""What follows: the same for all that a person does with a program."""
_ARGUMENT = re.compile(rb'\ba(\d{1,7})(?:\[(\d{1,7})\]|(_len))?=("[^"]*"|\S*)')
_WORKING_DIRECTORY = re.compile(rb' ?cwd=("[^"]*"|[^\s\x1d]+)')
_NAME = re.compile(rb'name=("[^"]*"|[^\s\x1d]+)')
_CLONE_THREAD: Final = 0x10000
_FIRST_ITEM: Final = b"item=0 "
_MOST_PLAIN: Final = 256
"""Arguments that are looked at together; more are read one by one."""
_DELETED: Final = b" (deleted)"
MOST_PID: Final = 0x7FFFFFFF
"""As the contract has them."""
_MOST_ID: Final = (1 << 32) - 1
_MOST_KEPT: Final = 4096
_MOST_KEPT_BYTES: Final = 1024
"""What comes again and again is short; what is longer is read each time."""
_T = TypeVar("_T")


def _kept(read_text: Callable[[bytes], _T]) -> Callable[[bytes], _T]:
    """Keep what a text meant: records of one file, folder or caller differ in little else."""
    kept = lru_cache(maxsize=_MOST_KEPT)(read_text)
    return lambda text: kept(text) if len(text) <= _MOST_KEPT_BYTES else read_text(text)


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
    caller = _caller(text[found.end() :]) if found is not None else None
    if found is None or caller is None:
        return _call_from_fields(read("SYSCALL", text))
    architecture, number, succeeded, result, a0, a1, a2, a3, ppid_text, pid_text = found.groups()
    ppid, pid = int(ppid_text), int(pid_text)
    if not 0 < pid <= MOST_PID:
        return None
    return Call(
        architecture,
        number,
        succeeded == b"yes",
        result,
        (a0, a1, a2, a3),
        ppid if ppid <= MOST_PID else 0,
        pid,
        *caller,
    )


@_kept
def _caller(text: bytes) -> tuple[int, int, int, str, int, bytes] | None:
    """Return the last six fields of a Call."""
    found = _CALLER.match(text)
    if found is None:
        return None
    login_user_id, user_id, effective_user_id, terminal, session_id, executable = found.groups()
    return (
        int(login_user_id),
        int(user_id),
        int(effective_user_id),
        terminal_of(terminal),
        int(session_id),
        program_of(text_of(executable)),
    )


def _call_from_fields(fields: Mapping[str, bytes]) -> Call | None:
    pid, ppid = _id(fields.get("pid", b""), 0), _id(fields.get("ppid", b""), 0)
    if not 0 < pid <= MOST_PID:
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
        ppid if ppid <= MOST_PID else 0,
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


def number_of(hexadecimal: bytes) -> int:
    """Return an argument of a system call; 0 when it is no number."""
    try:
        return int(hexadecimal[-16:], 16)
    except ValueError:
        return 0


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
        "exec",
        boot_ns,
        boot_ns if start_ns is None else start_ns,
        call.pid,
        call.ppid,
        0,
        call.user_id,
        call.effective_user_id,
        call.login_user_id,
        call.session_id,
        call.terminal,
        0,
        requested_path_of(event),
        call.executable,
        arguments,
        cut,
        working_directory_of(event),
        "",
        True,  # noqa: FBT003  (by name they would cost twice as much)
    )


def is_thread(call: Call) -> bool:
    """Whether a call of FORKS made a thread; of clone3 it is not said."""
    key = call.architecture, call.number
    return key in CLONES and bool(number_of(call.arguments[0]) & _CLONE_THREAD)


def requested_path_of(event: KernelEvent) -> bytes:
    """Return the path that was asked for: the others are the interpreter's and the linker's."""
    text = event.text("PATH")
    if text is None or not text.startswith(_FIRST_ITEM):  # it mostly comes first
        text = next((each for each in event.all("PATH") if each.startswith(_FIRST_ITEM)), None)
    return _name_in(text) if text is not None else b""


@_kept
def _name_in(text: bytes) -> bytes:
    found = _NAME.match(text, len(_FIRST_ITEM))
    return text_of(found[1]) if found is not None else b""


def working_directory_of(event: KernelEvent) -> bytes:
    """Return the folder in which a call's process worked; b"" when no record says it."""
    text = event.text("CWD")
    return _folder_in(text) if text is not None else b""


@_kept
def _folder_in(text: bytes) -> bytes:
    found = _WORKING_DIRECTORY.match(text)
    return text_of(found[1]) if found is not None else b""


def arguments_of(event: KernelEvent) -> tuple[tuple[bytes, ...], bool]:
    """Return argv as EXECVE records tell it, and whether some of it is missing.

    Long arguments come in pieces (a1_len=… a1[0]=… a1[1]=…), many of them in several records.
    """
    kinds = event.kinds
    if kinds.count("EXECVE") == 1:
        text = event.texts[kinds.index("EXECVE")]
        parts = text.split(b'"')
        count = len(parts) // 2
        if count < _MOST_PLAIN and parts[::2] == _names_of(count) and b"\x1d" not in text:
            return tuple(parts[1::2]), False
    return _arguments_in_pieces(event.all("EXECVE"))


@lru_cache(maxsize=_MOST_PLAIN)
def _names_of(count: int) -> list[bytes]:
    """Return what stands around as many arguments when all are in quotes and whole."""
    return [b"argc=%d a0=" % count, *(b" a%d=" % place for place in range(1, count)), b""]


def _arguments_in_pieces(said: list[bytes]) -> tuple[tuple[bytes, ...], bool]:
    whole: dict[int, bytes] = {}
    pieces: dict[int, dict[int, bytes]] = {}
    lengths: dict[int, int] = {}
    stated, room = 0, MOST_ARGUMENT_BYTES
    for one in said:
        text = one.partition(b"\x1d")[0]
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
