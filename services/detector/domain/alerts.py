"""Breaches of models as alerts: one occurrence for what is one action."""

from behaviour.model import Model
from chassis.text import show
from evidence.lineage import Lineage
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as models
from services.detector.domain import accounts
from services.detector.domain.actors import actor_of, exec_id_at
from services.detector.domain.deviation import Breach, expected_of, message_of
from services.detector.domain.drafts import bounded
from services.detector.domain.ids import digest
from services.detector.domain.policy import Policy

MESSAGE_CHARACTERS = SUBJECT_CHARACTERS = 4096
_TYPES: dict[int, str] = {
    models.FACET_RUNS: "processes",
    models.FACET_WRITES: "filesystem",
    models.FACET_LISTENS: "network",
    models.FACET_CONNECTS: "network",
}


class Deviations:
    """The deviation alerts of one batch."""

    def __init__(self, policy: Policy, header: delivery.BatchHeader, lineage: Lineage) -> None:
        """Begin a batch."""
        self._policy, self._header, self._lineage = policy, header, lineage
        self.alerts: dict[str, pb.Finding] = {}
        self._first: dict[tuple[str, str], int] = {}

    def keep(self, finding: pb.Finding | None) -> None:
        """Take an alert that is no deviation from a model, and belongs to this batch as well."""
        if finding is not None:
            self.alerts[finding.occurrence_id] = finding

    def add(
        self,
        breach: Breach,
        ordinal: int,
        event: events.Event,
        image: events.Image,
        model: Model,
    ) -> None:
        """Take one breach: a new occurrence, or more of one that is there."""
        header = self._header
        facet, subject = breach.behaviour
        key = digest("deviation", header.herd, model.service, facet, subject)
        above = self._lineage.above(image)
        exec_id = exec_id_at(image, above, breach.depth)
        if breach.once:
            occurrence = digest(key, header.host_id, exec_id)
        else:
            # A daemon lives long: what it does within a batch is told as one.
            first = self._first.setdefault((key, exec_id), ordinal)
            occurrence = digest(key, header.host_id, header.chain_id, header.batch_number, first)
        finding = self.alerts.get(occurrence)
        if finding is None:
            finding = self.alerts[occurrence] = pb.Finding(
                occurrence_id=occurrence,
                host_id=header.host_id,
                herd=header.herd,
                chain_id=header.chain_id,
                batch_number=header.batch_number,
                event_time=event.event_time,
                actor=actor_of(image, above, breach.depth, event.attribution),
                alert=self._alert(key, breach, event, model),
            )
        alert = finding.alert
        if event.HasField("file_change"):
            _name_files(alert, event.file_change, breach)
        for account in accounts.of_command(image.executable, image.script, tuple(image.arguments)):
            if account.name not in alert.accounts:
                alert.accounts.append(account.name)

    def _alert(self, key: str, breach: Breach, event: events.Event, model: Model) -> pb.Alert:
        facet, subject = breach.behaviour
        verdict = self._policy.of_deviation(facet, subject)
        alert = pb.Alert(
            alert_key=key,
            type=_TYPES.get(facet, "processes" if breach.executed else "filesystem"),
            attack_type=verdict.attack_type,
            severity=verdict.severity,
            effect=verdict.effect,
            rule_name="model",
            attack_techniques=verdict.techniques,
            deviation=models.Behaviour(facet=facet, subject=subject[:SUBJECT_CHARACTERS]),
            expected=show(expected_of(breach, model)),
        )
        if event.HasField("connect"):
            alert.port, alert.address = event.connect.remote_port, event.connect.remote_address
        elif event.HasField("listen"):
            alert.port, alert.address = event.listen.local_port, event.listen.local_address
        alert.message = show(message_of(breach, model.service, alert.address))[:MESSAGE_CHARACTERS]
        return alert


def _name_files(alert: pb.Alert, change: events.FileChange, breach: Breach) -> None:
    """Name the file; for a program that obtained a capability, all that it changed meanwhile."""
    paths = [item.path for item in change.changes] if breach.executed else [breach.by]
    alert.modified_files[:] = bounded(
        {**dict.fromkeys(alert.modified_files), **dict.fromkeys(paths)}
    )
