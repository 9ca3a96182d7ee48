"""Findings: every occurrence once; activities and alerts as views that any order makes the same.

occurrences: _id the occurrence, k its kind, v the view it belongs to, f the finding's bytes, r when
it came (wall ns); of alerts also sv the severity, i the incident.
activities, alerts: _id the view; f the finding that stands for it; the rest is for questions.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from chassis import clock
from chassis.errors import InvalidArgumentError
from chassis.mongo import (
    ASCENDING,
    DESCENDING,
    Binary,
    BulkWriteError,
    Database,
    IndexModel,
    UpdateOne,
)
from chassis.text import show
from nightherd.detector.v1 import finding_pb2 as pb
from services.store.repository.incidents import Incidents
from services.store.repository.views import united

DUPLICATE = 11000
MAX_HOSTS = 10_000
MAX_TEXT = 64 << 10
"""Characters of a finding that can be searched for."""
MAX_FILES = 1000
"""Files kept a view: what one action changes; the events have them all."""


class FindingInvalidError(InvalidArgumentError):
    """A finding that cannot be recorded."""

    reason = "FINDING_INVALID"


def _view_id(finding: pb.Finding) -> str:
    """Return the id of the activity or alert it belongs to; empty when it is neither."""
    return finding.alert.alert_key or finding.activity.activity_id


def _rank(finding: pb.Finding) -> str:
    """Sorts occurrences by time, then id: the same order for everybody."""
    return f"{max(clock.from_timestamp(finding.event_time), 0):020d}{finding.occurrence_id}"


def _files(finding: pb.Finding) -> list[Binary]:
    paths = (*finding.activity.modified_files, *finding.alert.modified_files)
    return [Binary(path) for path in sorted(set(paths))[:MAX_FILES]]


def _text(finding: pb.Finding) -> str:
    """Everything a person may search for, lower case."""
    actor = finding.actor
    parts: list[bytes | str] = [
        finding.hostname,
        actor.user,
        actor.effective_user,
        actor.service,
        actor.executable,
        actor.command,
        actor.source_address,
    ]
    if finding.HasField("alert"):
        parts += [finding.alert.message, finding.alert.attack_type, *finding.alert.accounts]
        parts += finding.alert.modified_files
    else:
        parts += finding.activity.modified_files
    return "\n".join(show(part) for part in parts if part).lower()[:MAX_TEXT]


def _questions(finding: pb.Finding) -> dict[str, Any]:
    """What filters ask for, apart from time and hosts."""
    actor = finding.actor
    fields: dict[str, Any] = {
        "host": finding.host_id,
        "hostname": finding.hostname,
        "herd": finding.herd,
        "user": actor.user,
        "service": actor.service,
        "interactive": actor.interactive,
        "path": show(actor.executable),
        "text": _text(finding),
    }
    if finding.HasField("alert"):
        alert = finding.alert
        fields |= {
            "type": alert.type,
            "attack": alert.attack_type,
            "rule": alert.rule_name,
            "effect": alert.effect,
            "severity": alert.severity,
            "msg": alert.message,
            "techniques": list(alert.attack_techniques),
        }
    else:
        fields |= {"type": finding.activity.type}
    return fields


def _view(finding: pb.Finding, count: int) -> UpdateOne:
    """Fold one occurrence into its view: commutative and idempotent.

    An activity shows its earliest occurrence, an alert its latest.
    """
    is_alert = finding.HasField("alert")
    rank = _rank(finding)
    time = clock.from_timestamp(finding.event_time)
    stands = (
        {"$gte": [rank, {"$ifNull": ["$rank", ""]}]}
        if is_alert
        else {"$lte": [rank, {"$ifNull": ["$rank", "~"]}]}
    )
    shown = {"f": Binary(finding.SerializeToString()), "rank": rank, **_questions(finding)}
    fields: dict[str, Any] = {
        name: {"$cond": [stands, {"$literal": value}, f"${name}"]} for name, value in shown.items()
    }
    fields |= {
        "t": {"$max" if is_alert else "$min": ["$t", time]},
        "t0": {"$min": ["$t0", time]},
        "count": {"$max": ["$count", count]},
        "hosts": united("hosts", [finding.host_id], MAX_HOSTS),
        "files": united("files", _files(finding), MAX_FILES),
    }
    if is_alert:
        # One alert may stand for several accounts: none of them is lost to the latest.
        fields["accounts"] = united("accounts", finding.alert.accounts, MAX_FILES)
    else:
        affected = list(finding.activity.affected_services)
        fields["affected"] = united("affected", affected, MAX_FILES)
    return UpdateOne({"_id": _view_id(finding)}, [{"$set": fields}], upsert=True)


class Findings:
    """Occurrences and their two views."""

    def __init__(self, database: "Database[Any]", incidents: Incidents) -> None:
        """Use `database`; alerts become `incidents`."""
        self._incidents = incidents
        self._occurrences = database["occurrences"]
        self._views = {"activity": database["activities"], "alert": database["alerts"]}

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._occurrences.create_indexes([IndexModel([("v", ASCENDING), ("k", ASCENDING)])])
        for name, view in self._views.items():
            asked = ["type", "user", "service", "herd"]
            asked += ["attack", "severity"] if name == "alert" else []
            await view.create_indexes(
                [
                    IndexModel([("t", DESCENDING)]),
                    IndexModel([("hosts", ASCENDING), ("t", DESCENDING)]),
                    *(IndexModel([(field, ASCENDING), ("t", DESCENDING)]) for field in asked),
                ]
            )

    async def record(self, findings: Sequence[pb.Finding]) -> int:
        """Record occurrences, bring views and incidents up to date; return how many were new.

        A crash between leaves occurrences without their views; the detector was not answered then,
        records again, and the views are made from what is there.

        Raises:
            FindingInvalidError: one lacks what every finding has; nothing is recorded.
        """
        unique = {finding.occurrence_id: finding for finding in findings}
        for finding in unique.values():
            if not finding.occurrence_id or not finding.host_id or not _view_id(finding):
                raise FindingInvalidError("a finding has an id, a host, and an activity or alert")
        received_ns = clock.wall_ns()
        documents = [
            {
                "_id": key,
                "k": finding.WhichOneof("kind"),
                "v": _view_id(finding),
                "h": finding.host_id,
                "t": clock.from_timestamp(finding.event_time),
                "f": Binary(finding.SerializeToString()),
                "r": received_ns,
                **({"sv": finding.alert.severity} if finding.HasField("alert") else {}),
            }
            for key, finding in unique.items()
        ]
        if not documents:
            return 0
        new = len(documents)
        try:
            await self._occurrences.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            errors = error.details["writeErrors"]
            if any(e["code"] != DUPLICATE for e in errors) or error.details.get(
                "writeConcernErrors"
            ):
                raise
            new = error.details["nInserted"]
        for kind, collection in self._views.items():
            mine = [one for one in unique.values() if one.WhichOneof("kind") == kind]
            counts = {
                view: await self._occurrences.count_documents({"v": view, "k": kind})
                for view in set(map(_view_id, mine))
            }
            if mine:
                changes = [_view(finding, counts[_view_id(finding)]) for finding in mine]
                await collection.bulk_write(changes, ordered=False)
        await self._incidents.follow([one for one in unique.values() if one.HasField("alert")])
        return new

    async def page(
        self, kind: str, query: dict[str, Any], sort: list[tuple[str, int]], offset: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return view documents and how many match in all."""
        view = self._views[kind]
        rows = await view.find(query).sort(sort).skip(offset).limit(limit).to_list(None)
        return rows, await view.count_documents(query)

    async def stream(
        self, kind: str, query: dict[str, Any], sort: list[tuple[str, int]], offset: int, limit: int
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield view documents; `limit` 0 yields all."""
        rows = self._views[kind].find(query, batch_size=1000, allow_disk_use=True).sort(sort)
        async for row in rows.skip(offset).limit(limit):
            yield row
