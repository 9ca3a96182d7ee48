"""What became known about sessions, also late: sealed images say what was known at their time.

A document a session of a person: _id host/boot/session; user, terminal, address: [time, text], the
latest that was not empty; t the latest time (wall ns), by which retention forgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chassis.mongo import ASCENDING, Database, IndexModel, UpdateOne
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

_FIELDS = {"user": "login_user", "terminal": "terminal", "address": "source_address"}


@dataclass(frozen=True, slots=True)
class Told:
    """A SessionStart that was read in a batch."""

    host_id: str
    boot_id: str
    time_ns: int
    start: events.SessionStart


class Sessions:
    """Sessions of people, by host and boot."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._sessions = database["sessions"]

    async def prepare(self) -> None:
        """Make the index."""
        await self._sessions.create_indexes([IndexModel([("t", ASCENDING)])])

    async def note(self, told: Sequence[Told]) -> None:
        """Note what was told; harmless when it is told again or in another order."""
        changes = []
        for one in told:
            latest: dict[str, Any] = {"t": one.time_ns}
            for name, field in _FIELDS.items():
                if value := getattr(one.start, field):
                    latest[name] = [one.time_ns, value]
            key = _key(one.host_id, one.boot_id, one.start.session_id)
            changes.append(UpdateOne({"_id": key}, {"$max": latest}, upsert=True))
        if changes:
            await self._sessions.bulk_write(changes, ordered=False)

    async def join(self, records: Sequence[pb.EventRecord]) -> None:
        """Fill in what images of `records` lack and their sessions know."""
        lacking: dict[str, list[events.Image]] = {}
        for record in records:
            image = record.image
            if image.HasField("session_id") and not all(
                getattr(image, field) for field in _FIELDS.values()
            ):
                key = _key(record.host_id, record.boot_id, image.session_id)
                lacking.setdefault(key, []).append(image)
        if not lacking:
            return
        async for row in self._sessions.find({"_id": {"$in": list(lacking)}}):
            for image in lacking[row["_id"]]:
                for name, field in _FIELDS.items():
                    if name in row and not getattr(image, field):
                        setattr(image, field, row[name][1])

    async def forget(self, before_ns: int) -> None:
        """Forget sessions of which nothing was told since `before_ns`."""
        await self._sessions.delete_many({"t": {"$lt": before_ns}})


def _key(host_id: str, boot_id: str, session_id: int) -> str:
    return f"{host_id}/{boot_id}/{session_id}"
