"""What libbpf and the kernel's verifier said about a refusal: kept, and put into words."""

import ctypes
import errno
import os
import re
from collections import deque
from ctypes import CFUNCTYPE, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Final

from agent.sensors.unavailable import SensorUnavailable

_BTF: Final = Path("/sys/kernel/btf/vmlinux")
ENOTSUPP: Final = 524
"""The kernel's own number for "this machine does not do that"."""
LOG = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_MESSAGE_BYTES: Final = 1 << 16
_MOST_LINES: Final = 200
LINES_SHOWN: Final = 12
"""Last lines of what the kernel said about a refusal: a verifier's log ends with the reason."""
_PROGRAM_NAMED: Final = re.compile(r"(?:prog '([^']{1,64})'|failed to load program '([^']{1,64})')")

messages: deque[str] = deque(maxlen=_MOST_LINES)
_formatted: Final = ctypes.CDLL(None).vsnprintf
_formatted.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]


def _keep(level: int, format_: bytes, arguments: int) -> int:
    """Called by libbpf with each message: keep it, so that a refusal can be explained."""
    if level:  # information and debugging; 0 is a warning
        return 0
    text = ctypes.create_string_buffer(_MESSAGE_BYTES)
    _formatted(text, len(text), format_, arguments)
    messages.extend(text.value.decode("utf-8", "replace").splitlines())
    return 0


KEEP: Final = LOG(_keep)


def refusal(what: str, number: int) -> SensorUnavailable:
    """Return why the kernel refused: in its own words where it said any."""
    said = tuple(messages)[-LINES_SHOWN:]
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
    last = ""
    for line in reversed(messages):
        if "BEGIN PROG LOAD LOG" in line:
            return last
        if "END PROG LOAD LOG" in line:
            last = ""
        elif not last and _is_verdict(line):
            last = line.strip()
    # A long log pushed its own beginning out; without an end there was none.
    return last if any("END PROG LOAD LOG" in line for line in messages) else ""


def _is_verdict(line: str) -> bool:
    """Whether a line is the verifier's own: neither an instruction nor a state."""
    return (
        bool(line)
        and not line.startswith(("libbpf:", "processed ", "-- ", ";", "from "))
        and (not line[0].isdigit())
    )


def last_named() -> str:
    """Return the program that libbpf named last: the one at which loading ended."""
    for line in reversed(messages):
        if found := _PROGRAM_NAMED.search(line):
            return found[1] or found[2]
    return ""


def why(number: int) -> str:
    """Return why a program was refused, in few words."""
    if number == ENOTSUPP:
        return "this kernel does not take programs there"
    return _verdict() or os.strerror(number)
