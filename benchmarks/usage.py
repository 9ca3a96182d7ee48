"""What processes use, as the kernel counts it."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_USER_FIELD = 11
"""Place of utime among the fields after the name, which may hold spaces; stime follows."""


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes with all their threads, user and system."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[_USER_FIELD]) + int(fields[_USER_FIELD + 1])
    return ticks / _TICKS


class Meter:
    """CPU of some processes from now on."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._before = cpu_s(pids)

    def percent(self, seconds: float) -> float:
        """CPU since then in percent of one core, for a load of `seconds`.

        What a process does after the load, because of it, counts: the caller waits for that.
        """
        return 100 * (cpu_s(self._pids) - self._before) / seconds


def memory_mb(pid: int) -> dict[str, float]:
    """VmRSS, VmHWM (its peak) and Pss of a process, in MB of 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    lines += Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines)
        if name in ("VmRSS", "VmHWM", "Pss")
    }
    return {name: value * 1024 / 1e6 for name, value in kib.items()}


def children(pid: int) -> list[int]:
    """Living children of a process."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
