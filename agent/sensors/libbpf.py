"""The few functions of libbpf that loading an object needs, through ctypes.

libbpf.so.1 is on every Debian 12 (iproute2 depends on it), so no compiled Python package is needed.
Everything loaded belongs to file descriptors of this process: when it dies, the programs are gone.
"""

import ctypes
import errno
import os
import re
from collections import deque
from collections.abc import Collection, Iterator
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Final

from agent.sensors.unavailable import SensorUnavailable

_SONAMES: Final = ("libbpf.so.1", "libbpf.so.0")
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "bpf_object__open_mem": (c_void_p, [c_char_p, c_size_t, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_int]),
    "bpf_program__attach": (c_void_p, [c_void_p]),
    "bpf_link__destroy": (c_int, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, POINTER(c_uint32)]),
    "libbpf_num_possible_cpus": (c_int, []),
}
_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_INFO_SIZE: Final = 512
_RECURSION_MISSES_OFFSET: Final = 208
"""Of `recursion_misses` in struct bpf_prog_info: kernel ABI."""
_LOG = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_MESSAGE_BYTES: Final = 1 << 16
_MOST_LINES: Final = 200
LINES_SHOWN: Final = 12
"""Last lines of what the kernel said about a refusal: a verifier's log ends with the reason."""
_PROGRAM_NAMED: Final = re.compile(r"(?:prog '([^']{1,64})'|failed to load program '([^']{1,64})')")

_messages: deque[str] = deque(maxlen=_MOST_LINES)
_formatted: Final = ctypes.CDLL(None).vsnprintf
_formatted.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]


def _keep(level: int, format_: bytes, arguments: int) -> int:
    """Called by libbpf with each message: keep it, so that a refusal can be explained."""
    if level:  # information and debugging; 0 is a warning
        return 0
    text = ctypes.create_string_buffer(_MESSAGE_BYTES)
    _formatted(text, len(text), format_, arguments)
    _messages.extend(text.value.decode("utf-8", "replace").splitlines())
    return 0


_KEEP: Final = _LOG(_keep)


@cache
def _library() -> ctypes.CDLL:
    for soname in _SONAMES:
        try:
            library = ctypes.CDLL(soname, use_errno=True)
        except OSError:
            continue
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
        # Its messages go to stderr otherwise.
        library.libbpf_set_print.argtypes = [_LOG]
        library.libbpf_set_print.restype = c_void_p
        library.libbpf_set_print(_KEEP)
        return library
    raise SensorUnavailable("the library libbpf.so.1 (Debian package libbpf1) is not installed")


def _refusal(what: str, number: int) -> SensorUnavailable:
    """Return why the kernel refused: in its own words where it said any."""
    said = tuple(_messages)[-LINES_SHOWN:]
    if verdict := _verdict():
        reason = f"its verifier says: {verdict}"
    elif number in (errno.EPERM, errno.EACCES):
        reason = "not permitted (needs root, or CAP_BPF and CAP_PERFMON)"
    elif not _BTF.exists():
        reason = "the kernel has no BTF type information (/sys/kernel/btf/vmlinux)"
    else:
        reason = os.strerror(number)
    return SensorUnavailable(f"the kernel does not {what} our eBPF programs: {reason}", said)


def _verdict() -> str:
    """Return the verifier's last words about the program that was refused last, or ""."""
    lines = list(_messages)
    begin = max((at for at, line in enumerate(lines) if "BEGIN PROG LOAD LOG" in line), default=-1)
    if begin < 0:
        return ""
    return next((line.strip() for line in reversed(lines[begin:]) if _is_verdict(line)), "")


def _is_verdict(line: str) -> bool:
    """Whether a line is the verifier's own: neither an instruction nor a state."""
    return (
        bool(line)
        and not line.startswith(("libbpf:", "processed ", "-- ", ";", "from "))
        and (not line[0].isdigit())
    )


def _last_named() -> str:
    """Return the program that libbpf named last: the one at which loading ended."""
    for line in reversed(_messages):
        if found := _PROGRAM_NAMED.search(line):
            return found[1] or found[2]
    return ""


def _why(number: int) -> str:
    return _verdict() or os.strerror(number)


class BpfObject:
    """One loaded and attached object file.

    Programs that may be missing are left out where this kernel refuses them; `refused` says why.

    Args:
        image: The bytes of the object file.
        map_sizes: Maps that shall have another number of entries than the object says.
        optional: Names of programs without which the others are still worth loading.

    Raises:
        SensorUnavailable: No libbpf, no BTF, not permitted, or refused by the verifier.
    """

    def __init__(
        self,
        image: bytes,
        map_sizes: dict[str, int] | None = None,
        optional: Collection[str] = (),
    ) -> None:
        """Load and attach."""
        self._library = _library()
        self._links: list[int] = []
        self._programs: list[int] = []
        self._object: int | None = None
        self.refused: dict[str, str] = {}
        """Optional programs that this kernel does not take, and its reason."""
        try:
            while not self._load(image, map_sizes or {}, optional):
                self.close()
            self._attach(optional)
        except BaseException:  # whatever it was: nothing stays loaded
            self.close()
            raise

    def _load(self, image: bytes, map_sizes: dict[str, int], optional: Collection[str]) -> bool:
        """Load what was not refused yet; False when one more program must be left out."""
        _messages.clear()
        self._object = self._library.bpf_object__open_mem(image, len(image), None)
        if not self._object:
            raise _refusal("know the format of", ctypes.get_errno() or errno.EINVAL)
        for name, entries in map_sizes.items():
            self._library.bpf_map__set_max_entries(self._map(name), entries)
        for name, program in self._each_program():
            if name in self.refused:
                self._library.bpf_program__set_autoload(program, 0)
        result = -self._library.bpf_object__load(self._object)
        if not result:
            return True
        named = _last_named()
        if named not in optional or named in self.refused:
            raise _refusal("load", result)
        self.refused[named] = _why(result)
        return False

    def _attach(self, optional: Collection[str]) -> None:
        for name, program in self._each_program():
            if name in self.refused:
                continue
            link = self._library.bpf_program__attach(program)
            if link:
                self._links.append(link)
                self._programs.append(self._library.bpf_program__fd(program))
            elif name in optional:
                self.refused[name] = _why(ctypes.get_errno())
            else:
                raise _refusal("attach", ctypes.get_errno())

    def _each_program(self) -> Iterator[tuple[str, int]]:
        program = None
        while program := self._library.bpf_object__next_program(self._object, program):
            yield self._library.bpf_program__name(program).decode(), program

    def _map(self, name: str) -> int:
        found: int | None = self._library.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise SensorUnavailable(f"the eBPF object has no map {name}")
        return found

    def map_fd(self, name: str) -> int:
        """File descriptor of a map; the object owns it."""
        fd: int = self._library.bpf_map__fd(self._map(name))
        return fd

    def per_cpu_sum(self, fd: int) -> int:
        """Sum over all CPUs of the first entry of a per-CPU array of u64."""
        values = (ctypes.c_uint64 * max(1, self._library.libbpf_num_possible_cpus()))()
        key = c_uint32(0)
        self._library.bpf_map_lookup_elem(fd, ctypes.byref(key), values)
        return sum(values)

    def missed_runs(self) -> int:
        """How often the kernel skipped a program, because it was running on that CPU already."""
        total = 0
        for fd in self._programs:
            info = ctypes.create_string_buffer(_INFO_SIZE)
            size = c_uint32(_INFO_SIZE)
            self._library.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size))
            if size.value >= _RECURSION_MISSES_OFFSET + 8:
                total += ctypes.c_uint64.from_buffer(info, _RECURSION_MISSES_OFFSET).value
        return total

    def close(self) -> None:
        """Detach and unload. Safe to call twice."""
        while self._links:
            self._library.bpf_link__destroy(self._links.pop())
        self._programs.clear()
        if self._object:
            self._library.bpf_object__close(self._object)
            self._object = None
