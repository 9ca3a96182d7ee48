"""The eBPF programs that a kernel may refuse, and what is not seen without each."""

from collections.abc import Collection, Mapping
from typing import Final

UNIX_NAME_BYTES: Final = 32
"""Size of a key in the map of watched unix sockets."""

_MODES = "Who gives setuid, setgid or executable bits to files outside the watched folders"
_CAPABILITIES = "Who gives capabilities to files outside the watched folders"
_MODULES = "Loading and unloading of kernel modules"
_UNSHARE = "Who makes namespaces of its own"
_SETNS = "Who enters namespaces"
_UNMOUNTS = "Who unmounts file systems"
_DATAGRAMS = "Outgoing UDP"

NOT_SEEN: Final[Mapping[str, str]] = {
    "on_chmod": _MODES,
    "on_setxattr": _CAPABILITIES,
    "on_removexattr": _CAPABILITIES,
    "on_setuid": "By which call a process becomes another user",
    "on_attach": "Attaching to processes without stopping them (PTRACE_SEIZE)",
    "on_memory": "Opening /proc/PID/mem for writing",
    "on_process_vm": "Writing to other processes' memory by process_vm_writev",
    "on_signal": "Who sends fatal signals",
    "on_unshare_begins": _UNSHARE,
    "on_unshare": _UNSHARE,
    "on_setns": _SETNS,
    "on_setns_user": "Who enters user namespaces",
    "on_mount": "Who mounts file systems by mount(2)",
    "on_unmount": _UNMOUNTS,
    "on_unmounted": _UNMOUNTS,
    "on_move_mount": "Who moves or attaches mounts",
    "on_module_load": _MODULES,
    "on_module_free": _MODULES,
    "on_program": "Who loads BPF programs",
    "on_bind": "Who opens UDP ports for a short time",
    "on_bind6": "Who opens UDP ports for a short time",
    "on_raw_socket": "Raw and packet sockets",
    "on_unix_connect": "Connecting to the watched unix sockets",
    "on_udp": _DATAGRAMS,
    "on_udp6": _DATAGRAMS,
    "on_packet": _DATAGRAMS,
}
"""Program -> what is not seen without it: the subject of a sentence."""

STAND_INS: Final[Mapping[str, str]] = {"on_packet": "on_udp"}
"""Program -> the one of which it does the work where that is refused."""
_INSTEAD: Final[Mapping[str, str]] = {"on_udp": "on_packet", "on_udp6": "on_packet"}

_TELLS: Final[Mapping[str, frozenset[str]]] = {
    "modules": frozenset({"on_module_load", "on_module_free"}),
    "programs": frozenset({"on_program"}),
    "users": frozenset({"on_setuid"}),
}


ONLY_FULL: Final = (
    _MODES,
    _CAPABILITIES,
    "Becoming another user before the next program is executed",
    "That a program was deleted, lay in memory or ran in a mount namespace of its own",
    "LD_PRELOAD and other variables that change how programs run",
    "Attaching to processes, and writing to their memory,",
    "Who sends fatal signals",
    "Making and entering of namespaces, and who mounts",
    "Who loads BPF programs",
    "Outgoing UDP, and names that were looked up,",
    "Raw and packet sockets, and connecting to watched unix sockets,",
)
"""What the levels below the full one do not show, as beginnings of sentences."""


def sentences(refused: Mapping[str, str]) -> list[str]:
    """Return what is not seen without what was refused."""
    told: dict[str, str] = {}
    for name, why in refused.items():
        instead = _INSTEAD.get(name)
        if instead is None or instead in refused:
            told.setdefault(NOT_SEEN[name], why)
    return [
        f"Not seen here: {what[0].lower() + what[1:] if what[1].islower() else what} ({why})."
        for what, why in sorted(told.items())
    ]


def tells(refused: Collection[str]) -> frozenset[str]:
    """Return the facts that are told completely although programs were refused."""
    return frozenset(what for what, programs in _TELLS.items() if programs.isdisjoint(refused))
