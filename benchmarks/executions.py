"""Executions by the thousand: is each of them told, with its end, or else told to be lost."""

from dataclasses import dataclass

from benchmarks.live_agent import Told
from benchmarks.loads import Ran
from nightherd.event.v1 import event_pb2 as events


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a load's processes."""

    ran: int
    executions: int
    """Told, with the load's own arguments."""
    exits: int
    lost: int
    """Events of which gaps say, with a number, that they are missing."""

    @property
    def unaccounted(self) -> int:
        """Executions of which nothing is told, and told ones whose end is not.

        A process whose execution was lost, and told to be, has no end that could be told. What is
        told twice is as wrong.
        """
        missing = max(0, self.ran - self.executions) + max(0, self.executions - self.exits)
        too_many = max(0, self.executions - self.ran) + max(0, self.exits - self.executions)
        return max(0, missing - self.lost) + too_many


def account(told: Told, tag: str, ran: Ran) -> Account:
    """Count what was told of programs whose first argument is `tag`."""
    executions = exits = lost = 0
    for image, event in told:
        if event.HasField("gap"):
            lost += _counted(event.gap)
        elif list(image.arguments[1:2]) == [tag.encode()]:
            executions += max(1, event.count) * event.HasField("exec")
            exits += max(1, event.count) * event.HasField("exit")
    return Account(ran.count, executions, exits, lost)


def _counted(gap: events.Gap) -> int:
    sure = gap.precision in (events.Gap.PRECISION_EXACT, events.Gap.PRECISION_AT_LEAST)
    return gap.lost if sure and not gap.source.startswith("fanotify") else 0
