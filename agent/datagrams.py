"""Questions to name servers: what one image asks one server within a second is one event."""

from collections.abc import Iterator
from typing import Final

from agent.sensors.dns_names import MOST_NAMES, questions
from agent.sensors.records import SocketRecord
from agent.stages.fold import Made

DNS_PORT: Final = 53
MERGE_NS: Final = 1_000_000_000
MOST_OPEN: Final = 256
"""Images and servers of which questions are collected; from there on the oldest is told."""

_Key = tuple[str, str]


class Questions:
    """Collects the names that images ask servers for."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        self._open: dict[_Key, tuple[int, Made]] = {}

    def add(self, record: SocketRecord, made: Made) -> Iterator[Made]:
        """Add the event of a datagram; yield what is to be told now."""
        if record.protocol != "udp" or record.remote_port != DNS_PORT:
            yield made
            return
        key = (made.ran.image.exec_id if made.ran is not None else "", record.remote_address)
        names = questions(record.payload)
        found = self._open.get(key)
        if found is not None:
            connect = found[1].event.connect
            fresh = [name for name in names if name not in connect.dns_names]
            if len(connect.dns_names) + len(fresh) <= MOST_NAMES:
                connect.dns_names.extend(fresh)
                event = found[1].event
                event.count = max(event.count, 1) + 1
                event.last_event_time.CopyFrom(made.event.event_time)
                return
            yield self._open.pop(key)[1]
        made.event.connect.dns_names.extend(names)
        self._open[key] = record.boot_ns, made
        if len(self._open) > MOST_OPEN:
            yield self._open.pop(next(iter(self._open)))[1]

    def due(self, boot_ns: int) -> Iterator[Made]:
        """Yield what has been open for a second."""
        while self._open:
            key, (since_ns, made) = next(iter(self._open.items()))
            if boot_ns - since_ns < MERGE_NS:
                return
            del self._open[key]
            yield made

    def all(self) -> Iterator[Made]:
        """Yield everything (the agent stops)."""
        while self._open:
            yield self._open.pop(next(iter(self._open)))[1]
