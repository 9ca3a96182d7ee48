"""How much slower the host's programs run with the agent: the least time of many, either way."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket
from benchmarks.live_agent import LiveAgent
from benchmarks.loads import Loads

TARGETS: dict[str, float | None] = {
    "exec": 6,
    "open": 3,
    "connect": 5,
    "datagram": None,
    "getpid": None,
}
"""How many percent longer each may take."""
_BLOCKS = {"connect": 10, "datagram": 50}
"""How many are one measurement; longer ones would hardly ever have the CPU to themselves."""


@dataclass(slots=True)
class Least:
    """Least nanoseconds of one operation, by kind, with the agent and without."""

    with_agent: dict[str, float] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)

    def percent(self, kind: str) -> float | None:
        """How much longer it takes with the agent; may be below 0 by noise. None: not measured."""
        if kind not in self.with_agent or kind not in self.without:
            return None
        return 100 * (self.with_agent[kind] / self.without[kind] - 1)


def compare(folder: Path, loads: Loads, turns: int, seconds: float, least: Least) -> None:
    """Repeat each operation without the agent and with it, in `turns` turns.

    The clock speed of a machine changes within seconds: with many short turns either side meets
    the machine at its best.
    """
    for turn in range(turns):
        with same_audit_state():
            measure(loads, seconds, least.without)
        place = folder / f"turn-{turn}"
        with LiveAgent(place) as agent:
            # What the operations before left to do is done: it would take a core.
            measure(loads, seconds, least.with_agent, agent.settle)
        shutil.rmtree(place)


def measure(
    loads: Loads,
    seconds: float,
    least: dict[str, float],
    settle: Callable[[], object] = lambda: None,
) -> None:
    """Repeat each operation for `seconds`, and keep the least."""
    for kind in TARGETS:
        settle()
        if kind == "exec":
            found = loads.spawn(0, seconds, loads.tiny).least_ns
        else:
            found = loads.calls(kind, seconds, _BLOCKS.get(kind, 200)).least_ns
        if found:  # a busy machine may not even do one block of them
            least[kind] = min(found, least.get(kind, found))


@contextmanager
def same_audit_state() -> Iterator[None]:
    """Audit as the agent sets it: on, with no system call audited.

    A kernel on which audit was ever on makes every system call slower until there is the rule that
    the agent adds. Without the rule, the agent would seem to speed the host up.
    """
    control = AuditSocket()
    try:
        found = control.status()
        ours = not found.daemon_pid and control.add_rule(TASK_NEVER)
        try:
            if ours and not found.enabled:
                control.set_enabled(1)
            yield
        finally:
            if ours:
                with suppress(FileNotFoundError):
                    control.delete_rule(TASK_NEVER)
                control.set_enabled(found.enabled)
    finally:
        control.close()
