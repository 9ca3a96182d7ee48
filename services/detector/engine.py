"""From a batch to findings: pure, one pass, the same cost for every event.

Ids follow from what was found, so judging a batch again records nothing twice. A batch that was
judged but not yet settled when a model changed may be judged again with the newer revision: then a
deviation can be found that was none before, or not be found again. What was recorded stays, with
the revision it was found with; at most the batches in the window (8 a host) are concerned.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from behaviour.behaviours import has_model
from behaviour.model import Model
from evidence.lineage import Lineage
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain.activities import Activities
from services.detector.domain.activity_table import Table
from services.detector.domain.alerts import Deviations
from services.detector.domain.deviation import breaches
from services.detector.domain.drafts import Draft
from services.detector.domain.ids import digest
from services.detector.domain.logins import login_written
from services.detector.domain.policy import Policy

_JUDGED = frozenset({"exec", "file_change", "connect", "listen", "login_user_change"})


@dataclass(frozen=True, slots=True)
class Models:
    """What is normal, as of one revision: (herd, service) -> model."""

    of: Mapping[tuple[str, str], Model] = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the judging goes by, apart from models."""

    table: Table
    policy: Policy


def judge(
    body: events.EventBatch,
    header: delivery.BatchHeader,
    models: Models,
    rules: Rules,
    hostname: str = "",
) -> list[pb.Finding]:
    """Return the findings of a batch: its activities, then alerts, each in the order of events.

    Args:
        body: the events.
        header: of the same batch.
        models: what is normal.
        rules: what makes activities and alerts.
        hostname: the host's name, for people; empty when not known.
    """
    table, policy, herd = rules.table, rules.policy, header.herd
    images = list(body.images)
    lineage = Lineage(body)
    activities = Activities(table, policy, header, lineage)
    deviations = Deviations(policy, header, lineage)
    models_of: dict[int, Model | None] = {}
    for ordinal, event in enumerate(body.events):
        kind = event.WhichOneof("kind")
        if kind is None or kind == "exit":
            continue
        place = event.actor if event.HasField("actor") else -1
        image = images[place] if 0 <= place < len(images) else None
        made = activities.see(kind, event, image)
        if image is None or kind not in _JUDGED:
            continue
        if kind == "login_user_change":
            above = lineage.above(image)
            deviations.keep(login_written(event, image, above, header, policy))
            continue
        if place not in models_of:
            models_of[place] = _model(models, herd, image)
        model = models_of[place]
        if model is not None and model.active:
            for breach in breaches(event, images, image, lineage, model, policy, table):
                deviations.add(breach, ordinal, event, image, model)
        elif (
            model is not None
            and made
            and breaches(event, images, image, lineage, model, policy, table)
        ):
            for draft in made:
                draft.would_alert = True
    return _packed(activities, deviations, header, models, policy, hostname)


def _model(models: Models, herd: str, image: events.Image) -> Model | None:
    """Return the model to judge `image` by; one that knows nothing for a service without."""
    if not has_model(image):
        return None
    service = image.service
    return models.of.get((herd, service)) or Model(herd, service)


def _packed(
    activities: Activities,
    deviations: Deviations,
    header: delivery.BatchHeader,
    models: Models,
    policy: Policy,
    hostname: str,
) -> list[pb.Finding]:
    found: list[pb.Finding] = []
    drafts = activities.drafts.values()
    if not drafts and not deviations.alerts:
        return found

    def finding(occurrence: str, draft: Draft) -> pb.Finding:
        return pb.Finding(
            occurrence_id=occurrence,
            host_id=header.host_id,
            hostname=hostname,
            herd=header.herd,
            chain_id=header.chain_id,
            batch_number=header.batch_number,
            event_time=draft.time,
            actor=draft.actor,
            model_revision=models.revision,
        )

    for draft in drafts:
        # One occurrence a batch: what several batches have of an action, the store unites.
        recorded = finding(digest(draft.activity_id, header.chain_id, header.batch_number), draft)
        recorded.activity.CopyFrom(draft.activity(policy))
        found.append(recorded)
    for draft in drafts:
        verdict = policy.verdict_of(draft.type, rights=bool(draft.rights))
        if draft.person and verdict.alerts and not draft.excused:
            alert = draft.alert(policy, verdict, header.host_id, hostname)
            raised = finding(digest(alert.alert_key, draft.activity_id), draft)
            raised.alert.CopyFrom(alert)
            found.append(raised)
    by_image = {draft.actor.exec_id: draft.activity_id for draft in drafts if draft.actor.exec_id}
    for raised in deviations.alerts.values():
        raised.alert.activity_id = by_image.get(raised.actor.exec_id, "")
        raised.hostname, raised.model_revision = hostname, models.revision
        found.append(raised)
    return found
