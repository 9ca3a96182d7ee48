"""Records of the audit system put together to the kernel's events.

One system call is several records (SYSCALL, EXECVE, CWD, PATH …) that share time and serial. They
come interleaved with those of other processors, at times out of order. An event is whole at its
EOE, at once when its type has one record only, or when two seconds and some events have passed it
(auditd 4 writes no EOE). Events come out in the order in which they began.

Serials count every event of the kernel, so a hole in them is something lost, or left out by who
wrote the log. They begin anew with each boot (`audit_serials`).

References: auparse/auparse.c of https://github.com/linux-audit/audit-userspace
"""

from collections import deque
from typing import Final

from agent.sensors.audit_records import TYPE_NAMES
from agent.sensors.audit_serials import BOOTS, Hole, Serials
from agent.sensors.records import AuditRecord

WAIT_NS: Final = 2_000_000_000
FEWEST_PASSED: Final = 16
"""Events that must have begun since: on a quiet host two seconds are a record or two."""
MOST_OPEN: Final = 512
"""Events that may wait for more records; then the oldest is taken for whole."""
MOST_RECORDS: Final = 1024
"""Records of one event: 2 MiB of arguments are some hundred."""
MOST_TOGETHER: Final = 256
"""Records that are taken at once; beyond, one by one."""
MOST_HELD: Final = 16_384
"""Records of all events that wait; then too the oldest is taken for whole."""
_FIRST_EVENT: Final = 1300
_FIRST_ANOMALY: Final = 2100
_SINGLE: Final = frozenset(
    name
    for number, name in TYPE_NAMES.items()
    # LOGIN comes with the system call that wrote the login uid.
    if name != "LOGIN" and (number < _FIRST_EVENT or number >= _FIRST_ANOMALY or name == "KERNEL")
)
_END: Final = "EOE"
_OF_THE_DAEMON: Final = "DAEMON_"
"""auditd numbers what it says of itself on its own."""


class KernelEvent:
    """What belongs to one moment of one process: records, as they came."""

    __slots__ = ("boot", "kinds", "serial", "texts", "wall_ns", "whole")

    def __init__(
        self, wall_ns: int, serial: int, kinds: list[str], texts: list[bytes], boot: int = 0
    ) -> None:
        """Begin with the records that came first, in the boot that was seen as this one."""
        self.boot = boot
        self.wall_ns, self.serial = wall_ns, serial
        self.kinds, self.texts = kinds, texts
        self.whole = False
        """Nothing more belongs to it."""

    def text(self, kind: str) -> bytes | None:
        """Return what the first record of a type says."""
        return self.texts[self.kinds.index(kind)] if kind in self.kinds else None

    def all(self, kind: str) -> list[bytes]:
        """Return what the records of a type say."""
        return [text for each, text in zip(self.kinds, self.texts, strict=True) if each == kind]

    def record(self, place: int) -> AuditRecord:
        """Return one of its records, by its place among them."""
        return AuditRecord(self.kinds[place], self.wall_ns, self.serial, self.texts[place])


class Assembler:
    """Groups records to events and watches their serials. One per host: serials are a host's."""

    def __init__(self, wait_ns: int = WAIT_NS) -> None:
        """Begin with nothing; wait for records of an event for `wait_ns` of wall time."""
        self._wait_ns = wait_ns
        self._order: deque[KernelEvent] = deque()
        self._open: dict[tuple[int, int], KernelEvent] = {}
        self._held = 0
        self._serials = Serials()

    @property
    def restarts(self) -> int:
        """How often the host was started again."""
        return self._serials.restarts

    def add(self, record: AuditRecord) -> list[KernelEvent]:
        """Add a record; return the events that are whole now."""
        self.hold(record.wall_ns, record.serial, [record.kind], [record.text])
        return self.passed(record.wall_ns)

    def hold(self, wall_ns: int, serial: int, kinds: list[str], texts: list[bytes]) -> None:
        """Add records that came together, with one stamp; the lists are the assembler's now.

        Ask for what they made whole (`passed`) before many are held.
        """
        only = len(kinds) == 1
        if only and kinds[0] in _SINGLE:
            # What user space says is an event of its own, also with the stamp of a call's.
            self._begin(wall_ns, serial, kinds, texts).whole = True
        elif only or (
            _SINGLE.isdisjoint(kinds) and _END not in kinds[:-1] and len(kinds) <= MOST_TOGETHER
        ):
            key = (wall_ns, serial)
            event = self._open.get(key)
            if event is None:
                event = self._open[key] = self._begin(wall_ns, serial, kinds, texts)
            else:
                event.kinds += kinds
                event.texts += texts
            if kinds[-1] == _END or len(event.kinds) >= MOST_RECORDS:
                event.whole = True
                del self._open[key]
        else:
            for kind, text in zip(kinds, texts, strict=True):
                self.hold(wall_ns, serial, [kind], [text])
            return
        self._held += len(kinds)

    def _begin(
        self, wall_ns: int, serial: int, kinds: list[str], texts: list[bytes]
    ) -> KernelEvent:
        kind = kinds[0]
        if kind in BOOTS:
            self._serials.announced(kind, serial, wall_ns, texts[0])
        if not kind.startswith(_OF_THE_DAEMON):
            self._serials.follow(serial, wall_ns)
        event = KernelEvent(wall_ns, serial, kinds, texts, self._serials.restarts)
        self._order.append(event)
        return event

    def passed(self, wall_ns: int) -> list[KernelEvent]:
        """Return events that are whole, or were passed by enough when a record of `wall_ns` came.

        Other than `due` it goes by the records alone.
        """
        return self._closed(wall_ns, FEWEST_PASSED)

    def due(self, wall_ns: int) -> list[KernelEvent]:
        """Return events that are whole, or have waited long enough at `wall_ns`."""
        return self._closed(wall_ns, 0)

    def finish(self) -> list[KernelEvent]:
        """Return all that is there: nothing more will come."""
        events = list(self._order)
        for event in events:
            event.whole = True
        self._order.clear()
        self._open.clear()
        self._held = 0
        return events

    def lost(self, before_ns: int = 1 << 63) -> list[Hole]:
        """Return, and forget, holes in the serials that are older than `before_ns`.

        Records come late at times: ask now and then for what is two seconds old, and at the end
        for all.
        """
        return self._serials.take_holes(before_ns)

    def _closed(self, wall_ns: int, fewest: int) -> list[KernelEvent]:
        """Return what is whole, or was passed by that many events and the time to wait."""
        events: list[KernelEvent] = []
        order, old_ns = self._order, wall_ns - self._wait_ns
        while order:
            head = order[0]
            if not head.whole:
                passed = head.wall_ns < old_ns and len(order) > fewest
                if not passed and len(order) <= MOST_OPEN and self._held <= MOST_HELD:
                    break
                head.whole = True
                self._open.pop((head.wall_ns, head.serial), None)
            events.append(order.popleft())
            self._held -= len(head.kinds)
        return events
