"""How much slower the host's programs run with the agent: the least time of many, either way."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket
from benchmarks.loads import Loads

KINDS = ("exec", "open", "getpid", "connect", "datagram")
_BLOCKS = {"connect": 10, "datagram": 50}
"""How many are one measurement; longer ones would hardly ever have the CPU to themselves."""


@dataclass(slots=True)
class Least:
    """Least nanoseconds of one operation, by kind, with the agent and without."""

    with_agent: dict[str, float] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)

    def percent(self, kind: str) -> float:
        """How much longer it takes with the agent; may be below 0 by noise."""
        return 100 * (self.with_agent[kind] / self.without[kind] - 1)


def measure(loads: Loads, seconds: float, least: dict[str, float]) -> None:
    """Repeat each operation for `seconds`, and keep the least."""
    for kind in KINDS:
        if kind == "exec":
            found = loads.spawn(0, seconds, loads.tiny).least_ns
        else:
            found = loads.calls(kind, seconds, _BLOCKS.get(kind, 200)).least_ns
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
