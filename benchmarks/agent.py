"""The agent's part: what it misses, what it costs, and what its peers cost, in one run.

The machine is noisy and its clock speed changes, so everything that is compared is measured in
turns, round by round, and the median is taken.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from agent.memory import EASE_S
from agent.pipeline import TICK_S
from agent.stages.budget import TELL_NS
from benchmarks import executions, files, peers, slowdown
from benchmarks.live_agent import LiveAgent, program, stop
from benchmarks.loads import TRUE, Loads
from benchmarks.results import CannotRun, Result
from benchmarks.usage import Meter, memory_mb
from chassis import clock

CHANGES_A_SECOND = 15_000
REMOVED = 50_000
DEPTH = 10_000
"""Folders in one another."""
EASINGS = 2
"""How often the agent may give memory back before what is left counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure, in seconds where nothing else is said."""

    rounds: int
    rates: dict[str, tuple[int, float]]
    """Executions a second (0: what the machine gives) and for how long."""
    write: float
    turns: int
    """How often the slow-down is measured without the agent and with it."""


FULL = Plan(3, {"100": (100, 4), "1000": (1000, 8), "3000": (3000, 5), "max": (0, 5)}, 8, 8)
QUICK = Plan(1, {"100": (100, 2), "1000": (1000, 5), "3000": (3000, 3), "max": (0, 3)}, 4, 3)
CALLS_S = 0.5
"""How long each operation is repeated in a turn."""


@dataclass(slots=True)
class Found:
    """Numbers as they come, round by round."""

    series: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    least: slowdown.Least = field(default_factory=slowdown.Least)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.series[name].append(value)
        print(f"  {name} {value:.4g}", flush=True)

    def attempt(self, name: str, measure: Callable[[], float]) -> None:
        """Add a number that may not be measurable here."""
        try:
            self.add(name, measure())
        except CannotRun as why:
            self.left_out[name] = str(why)
            print(f"  {name}: not measured: {why}", flush=True)

    def middle(self, name: str) -> float | None:
        return median(self.series[name]) if self.series.get(name) else None


def run(*, quick: bool) -> Iterator[Result]:
    """Measure, and yield the results.

    Raises:
        CannotRun: Not as root, or there is no compiler, or the agent's full level does not work.
    """
    if os.geteuid() != 0:
        raise CannotRun("the agent's full level needs root")
    plan, found = QUICK if quick else FULL, Found()
    with tempfile.TemporaryDirectory(prefix="nightherd-bench-") as name:
        folder = Path(name)
        loads = Loads(folder)
        for number in range(plan.rounds):
            print(f"agent: round {number + 1} of {plan.rounds}", flush=True)
            _round(folder, loads, plan, found, number)
        print(f"agent: {plan.turns} turns without it and with it", flush=True)
        slowdown.compare(folder, loads, plan.turns, CALLS_S, found.least)
    yield from _results(found)


def _round(folder: Path, loads: Loads, plan: Plan, found: Found, number: int) -> None:
    with LiveAgent(folder / f"agent-{number}") as agent:
        _executions(agent, loads, plan, found)
    found.attempt(
        "agent.exec_1000.sensing_cpu_percent",
        lambda: _sensing(folder / f"sensing-{number}", loads, *plan.rates["1000"]),
    )
    for peer in ("auditd", "laurel"):
        found.attempt(
            f"peer.{peer}.exec_1000.cpu_percent",
            lambda peer=peer: peers.cpu_percent(
                folder / f"{peer}-{number}",
                loads,
                *plan.rates["1000"],
                laurel=peer == "laurel",
            ),
        )
    if number == 0:
        with LiveAgent(folder / "files") as agent:
            _files(agent, loads, plan, found)


def _executions(agent: LiveAgent, loads: Loads, plan: Plan, found: Found) -> None:
    agent.settle()
    for name, (rate, seconds) in plan.rates.items():
        meter, tag = agent.meter(), f"load-{name}"
        # What costs least to start gives the highest rates; up to 1000/s, what is usual.
        command = TRUE if 0 < rate <= 1000 else loads.tiny
        ran = loads.spawn(rate, seconds, command, tag, spawners=2)
        told = agent.settle()
        cpu = meter.percent(ran.nominal_s(rate))
        if not rate:
            # What a service's budget does not let pass is told when it has gone on for so long.
            time.sleep(TELL_NS / clock.NS + 1)
            told += agent.settle()
        found.add(f"agent.exec_{name}.cpu_percent", cpu)
        found.add(f"agent.exec_{name}.rate", ran.count / ran.seconds)
        account = executions.account(told, tag, ran)
        found.add(f"agent.exec_{name}.unaccounted", account.unaccounted)
        found.add(f"agent.exec_{name}.gaps", account.lost)
        if name == "1000":
            memory = memory_mb(agent.pid)
            found.add("agent.rss_mb", memory["VmRSS"])
            found.add("agent.rss_peak_mb", memory["VmHWM"])
            found.add("agent.pss_mb", memory["Pss"])
    _after_flood(agent, "execs", found)


def _after_flood(agent: LiveAgent, what: str, found: Found) -> None:
    """Measure what stays in memory of a flood, once it is worked off and was given back."""
    agent.settle()
    time.sleep(EASINGS * EASE_S)
    found.add(f"agent.rss_after_{what}_mb", memory_mb(agent.pid)["VmRSS"])


def _sensing(folder: Path, loads: Loads, rate: float, seconds: float) -> float:
    folder.mkdir()
    log = folder / "log"
    process = program("benchmarks.sensing", log=log)
    try:
        while not log.stat().st_size:
            if process.poll() is not None:
                raise CannotRun("the sensors do not open")
        if not log.read_text().startswith("full"):
            raise CannotRun(f"the full level does not work here: {log.read_text()}")
        meter = Meter(process.pid)
        ran = loads.spawn(rate, seconds, TRUE, "load-sensing", spawners=2)
        time.sleep(2 * TICK_S)
        percent = meter.percent(ran.nominal_s(rate))
    finally:
        stop(process)
    seen, lost = map(int, log.read_text().split()[-2:])
    if lost or seen < ran.count:
        raise CannotRun(f"the sensors saw {seen} of {ran.count} executions, {lost} records lost")
    return percent


def _files(agent: LiveAgent, loads: Loads, plan: Plan, found: Found) -> None:
    written = files.write(agent, loads, CHANGES_A_SECOND, plan.write)
    found.add("agent.files_15000.rate", written.made / written.seconds)
    found.add("agent.files_15000.cpu_percent", written.cpu_percent)
    found.add("agent.files_15000.unattributed", written.nobody + written.guessed)
    found.add("agent.files_15000.misattributed", written.wrong)
    found.add("agent.files_15000.untold", 0 if written.gaps else written.untold)
    for name, stalled in (("agent.deletes_50000", False), ("agent.deletes_50000_stalled", True)):
        removed = files.remove(agent, loads, REMOVED, stalled=stalled)
        found.add(f"{name}.rate", removed.count / removed.seconds)
        found.add(f"{name}.unaccounted", removed.unaccounted)
        found.add(f"{name}.gaps", len(removed.gaps))
    files.deepen(agent, DEPTH)
    _after_flood(agent, "files", found)


_TOLD: dict[str, tuple[str, float | None]] = {
    **{f"agent.exec_{rate}.unaccounted": ("events", 0) for rate in FULL.rates},
    "agent.exec_1000.cpu_percent": ("%", 8),
    "agent.exec_1000.sensing_cpu_percent": ("%", 4),
    "agent.exec_3000.cpu_percent": ("%", None),
    "agent.exec_max.cpu_percent": ("%", None),
    "agent.exec_max.rate": ("exec/s", None),
    "agent.rss_mb": ("MB", 80),
    "agent.rss_peak_mb": ("MB", None),
    "agent.rss_after_execs_mb": ("MB", 80),
    "agent.rss_after_files_mb": ("MB", 80),
    "agent.pss_mb": ("MB", None),
    "agent.files_15000.unattributed": ("changes", 0),
    "agent.files_15000.misattributed": ("changes", 0),
    "agent.files_15000.untold": ("changes", 0),
    "agent.files_15000.rate": ("changes/s", None),
    "agent.files_15000.cpu_percent": ("%", None),
    "agent.deletes_50000.unaccounted": ("files", 0),
    "agent.deletes_50000_stalled.unaccounted": ("files", 0),
    "agent.deletes_50000.rate": ("files/s", None),
    "peer.auditd.exec_1000.cpu_percent": ("%", None),
    "peer.laurel.exec_1000.cpu_percent": ("%", None),
}
"""What becomes a result, with its unit and target."""
WORST = ("unaccounted", "unattributed", "misattributed", "untold", "after_flood_mb")


def _results(found: Found) -> Iterator[Result]:
    auditd = found.middle("peer.auditd.exec_1000.cpu_percent")
    for name, (unit, target) in _TOLD.items():
        # Of losses the worst round counts, of costs the middle one.
        worst = name.endswith(WORST)
        value = max(found.series.get(name, ()), default=None) if worst else found.middle(name)
        if value is not None:
            against = auditd if name.startswith("agent.exec_1000.") and unit == "%" else None
            yield Result(name, value, unit, target, against)
    for kind, target in slowdown.TARGETS.items():
        if (percent := found.least.percent(kind)) is not None:
            yield Result(f"agent.slowdown.{kind}_percent", percent, "%", target)
    for name, why in found.left_out.items():
        if name not in found.series:
            print(f"{name} is left out: {why}")
