"""The few functions of libbpf that loading an object needs, through ctypes.

libbpf.so.1 is on every Debian 12 (iproute2 depends on it), so no compiled Python package is needed.
Everything loaded belongs to file descriptors of this process: when it dies, the programs are gone.
"""

import ctypes
import errno
from collections.abc import Collection, Iterator, Mapping
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any, Final

from agent.sensors.libbpf_log import (
    ENOTSUPP,
    KEEP,
    LOG,
    last_named,
    messages,
    refusal,
    why,
)
from agent.sensors.unavailable import SensorUnavailable

_SONAMES: Final = ("libbpf.so.1", "libbpf.so.0")
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "bpf_object__open_mem": (c_void_p, [c_char_p, c_size_t, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__section_name": (c_char_p, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_int]),
    "bpf_program__attach": (c_void_p, [c_void_p]),
    "bpf_link__destroy": (c_int, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_update_elem": (c_int, [c_int, c_void_p, c_void_p, c_uint64]),
    "btf__load_vmlinux_btf": (c_void_p, []),
    "btf__find_by_name_kind": (c_int, [c_void_p, c_char_p, c_uint32]),
    "btf__free": (None, [c_void_p]),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, POINTER(c_uint32)]),
    "libbpf_num_possible_cpus": (c_int, []),
}
_INFO_SIZE: Final = 512
_RECURSION_MISSES_OFFSET: Final = 208
"""Of `recursion_misses` in struct bpf_prog_info: kernel ABI."""
_ON_FUNCTIONS: Final = (b"fentry", b"fexit")
_TYPEDEF, _FUNCTION = 8, 12
_PLACES: Final = {
    b"fentry": (b"", _FUNCTION),
    b"fexit": (b"", _FUNCTION),
    b"tp_btf": (b"btf_trace_", _TYPEDEF),
}
"""How the kernel's type information names the places of programs, and as which kind of type."""


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
        library.libbpf_set_print.argtypes = [LOG]
        library.libbpf_set_print.restype = c_void_p
        library.libbpf_set_print(KEEP)
        return library
    raise SensorUnavailable("the library libbpf.so.1 (Debian package libbpf1) is not installed")


class BpfObject:
    """One loaded and attached object file.

    Programs that may be missing are left out where this kernel refuses them; `refused` says why.

    Args:
        image: The bytes of the object file.
        map_sizes: Maps that shall have another number of entries than the object says.
        optional: Names of programs without which the others are still worth loading.
        stand_ins: Of these, programs that are loaded only where another one is refused.

    Raises:
        SensorUnavailable: No libbpf, no BTF, not permitted, or refused by the verifier.
    """

    def __init__(
        self,
        image: bytes,
        map_sizes: dict[str, int] | None = None,
        optional: Collection[str] = (),
        stand_ins: Mapping[str, str] | None = None,
    ) -> None:
        """Load and attach."""
        self._library = _library()
        self._links: list[int] = []
        self._programs: list[int] = []
        self._object: int | None = None
        self._optional, self._stand_ins = optional, stand_ins or {}
        self.loaded: set[str] = set()
        """Programs that are loaded."""
        self.refused: dict[str, str] = {}
        """Optional programs that this kernel does not take, and its reason."""
        try:
            while not (self._load(image, map_sizes or {}) and self._attach()):
                self.close()
        except BaseException:  # whatever it was: nothing stays loaded
            self.close()
            raise

    def _load(self, image: bytes, map_sizes: dict[str, int]) -> bool:
        """Load what was not refused yet; False when more programs must be left out."""
        messages.clear()
        self._object = self._library.bpf_object__open_mem(image, len(image), None)
        if not self._object:
            raise refusal("know the format of", ctypes.get_errno() or errno.EINVAL)
        for name, entries in map_sizes.items():
            self._library.bpf_map__set_max_entries(self._map(name), entries)
        self.loaded = {name for name, _ in self._each_program() if self._is_wanted(name)}
        for name, program in self._each_program():
            if name not in self.loaded:
                self._library.bpf_program__set_autoload(program, 0)
        result = -self._library.bpf_object__load(self._object)
        if not result:
            return True
        named = last_named()
        if named not in self._optional or named in self.refused:
            raise refusal("load", result)
        if not self._refuse_absent():
            self._refuse(named, result)
        return False

    def _is_wanted(self, name: str) -> bool:
        instead_of = self._stand_ins.get(name)
        return name not in self.refused and (instead_of is None or instead_of in self.refused)

    def _refuse(self, named: str, number: int) -> None:
        """Leave a program out; and all of its kind, when it was the kind that is not permitted."""
        reason = why(number)
        self.refused[named] = reason
        sections = {name: self._section(program) for name, program in self._each_program()}
        if number in (errno.EPERM, ENOTSUPP) and sections[named][0] in _ON_FUNCTIONS:
            for name, (kind, _) in sections.items():
                if kind in _ON_FUNCTIONS and name in self._optional:
                    self.refused.setdefault(name, reason)

    def _refuse_absent(self) -> bool:
        """Leave out at once what this kernel has no place for: each load takes its time."""
        types = self._library.btf__load_vmlinux_btf()
        if not types:
            return False
        before = len(self.refused)
        for name, program in self._each_program():
            kind, place = self._section(program)
            if name in self._optional and name not in self.refused and kind in _PLACES:
                prefix, btf_kind = _PLACES[kind]
                if self._library.btf__find_by_name_kind(types, prefix + place, btf_kind) < 0:
                    self.refused[name] = f"this kernel has no {place.decode()}"
        self._library.btf__free(types)
        return len(self.refused) > before

    def _section(self, program: int) -> tuple[bytes, bytes]:
        """Return where a program belongs: the kind of place, and its name."""
        kind, _, place = self._library.bpf_program__section_name(program).partition(b"/")
        return kind, place

    def _attach(self) -> bool:
        """Attach what was loaded; False when something has to stand in for what is refused."""
        for name, program in self._each_program():
            if name not in self.loaded:
                continue
            link = self._library.bpf_program__attach(program)
            if link:
                self._links.append(link)
                self._programs.append(self._library.bpf_program__fd(program))
            elif name in self._optional:
                messages.clear()
                self.refused[name] = why(ctypes.get_errno())
            else:
                raise refusal("attach", ctypes.get_errno())
        return all(not self._is_wanted(name) for name in self._stand_ins.keys() - self.loaded)

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

    def put(self, fd: int, key: bytes, value: bytes) -> None:
        """Put an entry into a map whose keys and values have these sizes."""
        self._library.bpf_map_update_elem(fd, key, value, 0)

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
