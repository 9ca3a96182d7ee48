"""Standings of models, their frozen revisions, and the global revision that orders all changes.

models: _id model; herd, service; state, rev, frozen, state_ns, by; m maturity; judged (span); told.
revisions: _id model and number; behaviours [[facet, subject], …]; never changed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from behaviour.behaviours import Behaviour
from behaviour.model import ACTIVE
from chassis.mongo import ASCENDING, Database, IndexModel, UpdateOne
from nightherd.modeler.v1 import model_pb2 as pb
from services.modeler.domain.maturity import Maturity
from services.modeler.domain.standing import Standing
from services.modeler.repository.locks import Lease
from services.modeler.repository.names import SEPARATOR, model_id

HELD_S = 5.0
RETRY_S = 0.02


def _standing(row: dict[str, Any]) -> Standing:
    return Standing(
        herd=row["herd"],
        service=row["service"],
        state=row["state"],
        revision=row["rev"],
        frozen=row.get("frozen", 0),
        state_ns=row["state_ns"],
        changed_by=row.get("by", ""),
        maturity=Maturity(**row["m"]) if "m" in row else Maturity(),
        told_count=row.get("told", 0),
    )


class Models:
    """All standings. Changes that detectors must hear of are made inside `changing`."""

    def __init__(self, database: "Database[Any]") -> None:
        """Use `database`."""
        self._database = database
        self._models, self._revisions = database["models"], database["revisions"]
        self._read = Lease(database, "revision", HELD_S)

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._models.create_indexes(
            [
                IndexModel([("rev", ASCENDING)]),
                IndexModel([("herd", ASCENDING), ("service", ASCENDING)]),
                IndexModel([("state", ASCENDING), ("judged", ASCENDING)]),
            ]
        )

    async def meet(self, services: Iterable[tuple[str, str]], now_ns: int) -> None:
        """Make a model for each (herd, service) that has none. Idempotent."""
        updates = [
            UpdateOne(
                {"_id": model_id(herd, service)},
                {
                    "$setOnInsert": {
                        "herd": herd,
                        "service": service,
                        "state": int(pb.MODEL_STATE_LEARNING),
                        "rev": 0,
                        "state_ns": now_ns,
                        "judged": -1,
                    }
                },
                upsert=True,
            )
            for herd, service in services
        ]
        if updates:
            await self._models.bulk_write(updates, ordered=False)

    async def get(self, herd: str, service: str) -> Standing | None:
        """Return one standing; None when the service was never seen in the herd."""
        row = await self._models.find_one({"_id": model_id(herd, service)})
        return None if row is None else _standing(row)

    async def page(
        self, query: dict[str, Any], offset: int, limit: int
    ) -> tuple[list[Standing], int]:
        """Return a page of standings, sorted by herd and service, and how many match."""
        cursor = self._models.find(query).sort([("herd", ASCENDING), ("service", ASCENDING)])
        page = [_standing(row) async for row in cursor.skip(offset).limit(limit)]
        return page, await self._models.count_documents(query)

    async def to_judge(self, span: int) -> list[Standing]:
        """Return standings that were not judged since `span` began."""
        return [_standing(row) async for row in self._models.find({"judged": {"$lt": span}})]

    async def untold(self) -> list[Standing]:
        """Return standings that are not in force: what detectors know of them may be old."""
        query = {"state": {"$in": [s for s in pb.ModelState.values() if s not in ACTIVE]}}
        return [_standing(row) async for row in self._models.find(query)]

    async def judged(self, standing: Standing, span: int) -> None:
        """Keep what was judged at the beginning of `span`."""
        await self._models.update_one(
            {"_id": model_id(standing.herd, standing.service)},
            {"$set": {"m": asdict(standing.maturity), "judged": span}},
        )

    async def frozen(self, standing: Standing) -> list[Behaviour]:
        """Return the behaviours of the frozen revision; empty when there is none."""
        if not standing.frozen:
            return []
        key = f"{model_id(standing.herd, standing.service)}{SEPARATOR}{standing.frozen}"
        row = await self._revisions.find_one({"_id": key})
        return [Behaviour(*pair) for pair in row["behaviours"]] if row else []

    async def revision(self) -> int:
        """Return the global revision: every change up to it can be read."""
        return int((await self._read.document()).get("value", 0))

    async def changed_since(self, revision: int) -> list[Standing]:
        """Return standings that changed after `revision`, oldest change first.

        Read `revision()` before, and go on from there: a change made meanwhile comes twice, never
        not at all.
        """
        cursor = self._models.find({"rev": {"$gt": revision}}).sort("rev", ASCENDING)
        return [_standing(row) async for row in cursor]

    @asynccontextmanager
    async def changing(self) -> AsyncIterator["Change"]:
        """Make changes, one process at a time; they can be read together at the end.

        Revisions are written before the global revision rises to them. If the holder dies between,
        the next change takes the same number again, and both are read.
        """
        lease = Lease(self._database, "revision", HELD_S)
        change = Change(self._models, self._revisions, await _taken(lease))
        try:
            yield change
        finally:
            while not await lease.give_back(value=change.revision):
                # Held too long (a stopped process): others went on from our numbers, so watchers
                # may have passed them. What was changed is given new ones.
                change.revision = await _taken(lease)
                await change.again()


async def _taken(lease: Lease) -> int:
    """Wait for the lease; return the global revision."""
    while (document := await lease.take()) is None:  # noqa: ASYNC110  (only asking tells)
        await asyncio.sleep(RETRY_S)
    return int(document.get("value", 0))


class Change:
    """Changes under way, see `Models.changing`."""

    def __init__(self, models: Any, revisions: Any, revision: int) -> None:
        """Go on from the global `revision`."""
        self._models, self._revisions, self.revision = models, revisions, revision
        self._changed: list[str] = []

    async def get(self, herd: str, service: str) -> Standing | None:
        """Return a standing as it is under the lease."""
        row = await self._models.find_one({"_id": model_id(herd, service)})
        return None if row is None else _standing(row)

    async def put(self, standing: Standing, freeze: Sequence[Behaviour] | None = None) -> Standing:
        """Write a standing with the next revision; `freeze` becomes its frozen revision."""
        key = model_id(standing.herd, standing.service)
        number = self.revision + 1
        frozen = standing.frozen
        if freeze is not None:
            frozen = number
            # After a crash the number may be taken by a revision that was never in force.
            await self._revisions.replace_one(
                {"_id": f"{key}{SEPARATOR}{number}"},
                {"behaviours": [[int(facet), subject] for facet, subject in freeze]},
                upsert=True,
            )
        await self._models.update_one(
            {"_id": key},
            {
                "$set": {
                    "state": int(standing.state),
                    "rev": number,
                    "frozen": frozen,
                    "state_ns": standing.state_ns,
                    "by": standing.changed_by,
                    "told": standing.told_count,
                }
            },
        )
        self.revision = number
        self._changed.append(key)
        written = await self.get(standing.herd, standing.service)
        if written is None:  # a standing is never removed
            raise LookupError(key)
        return written

    async def again(self) -> None:
        """Give everything that was changed a revision of its own once more."""
        for key in self._changed:
            self.revision += 1
            await self._models.update_one({"_id": key}, {"$set": {"rev": self.revision}})
