"""What became of an imported log, in numbers and for people."""

from collections.abc import Mapping
from typing import Final

from agent.stages.fold import Made
from agent.stages.sessions import Session

MOST_KINDS_SHOWN: Final = 20


class Shares:
    """Whose the events of an import are."""

    def __init__(self) -> None:
        """Begin with none."""
        self.events = 0
        self.of_services = self.in_sessions = self.of_neither = self.of_nobody = 0
        self._boots: set[int] = set()
        self._sessions: set[tuple[int, int, int]] = set()

    @property
    def boots(self) -> int:
        """Boots of which there is an event."""
        return len(self._boots)

    @property
    def sessions(self) -> int:
        """Sessions that were heard of."""
        return len(self._sessions)

    def boot(self, boot: int) -> None:
        """Note that there are events of a boot."""
        self._boots.add(boot)

    def session(self, boot: int, session: Session) -> None:
        """Note a session, of which there may be several pieces of news."""
        self._sessions.add((boot, session.session_id, session.login_user_id))

    def add(self, made: Made) -> None:
        """Count an event."""
        self.events += 1
        ran = made.ran
        if ran is None:
            self.of_nobody += 1
        elif ran.image.service:
            self.of_services += 1
        elif ran.image.HasField("session_id"):
            self.in_sessions += 1
        else:
            self.of_neither += 1


def summary_of(
    read: int, used: int, rejected: int, unused: Mapping[str, int], lost: int, shares: Shares
) -> str:
    """Return what became of `read` records, a line for each thing that people may ask.

    Args:
        read: lines that are not blank.
        used: records that are in events, or say more about who is in one.
        rejected: lines that are no record.
        unused: records without an event, by type.
        lost: events that are missing by their serials.
        shares: of the events.
    """
    without = sum(unused.values())
    read_line = (
        f"{read} records read: {used} in events, {without} without an event of ours, "
        f"{rejected} rejected; {lost} events are missing by their serials"
    )
    lines = [read_line]
    kinds = sorted(unused.items(), key=lambda each: (-each[1], each[0]))
    if kinds:
        shown = ", ".join(f"{kind} {count}" for kind, count in kinds[:MOST_KINDS_SHOWN])
        if len(kinds) > MOST_KINDS_SHOWN:
            shown += f", {len(kinds) - MOST_KINDS_SHOWN} further types"
        lines.append(f"without an event of ours: {shown}")
    lines.append(
        f"{shares.events} events of {_count(shares.boots, 'boot')} and "
        f"{_count(shares.sessions, 'session')}: {_share(shares.of_services, shares)} of services, "
        f"{_share(shares.in_sessions, shares)} in sessions, "
        f"{_share(shares.of_neither, shares)} without service and session, "
        f"{_share(shares.of_nobody, shares)} without an actor"
    )
    return "\n".join(lines)


def _share(count: int, shares: Shares) -> str:
    return f"{count} ({100 * count / shares.events:.1f} %)" if count else "0"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
