"""A process that writes its own audit login uid: an alert, whoever does it."""

from chassis.text import show
from evidence.lineage import Above
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain.actors import actor_of, command_of
from services.detector.domain.ids import digest
from services.detector.domain.policy import Policy


def login_written(
    event: events.Event,
    image: events.Image,
    above: Above,
    header: delivery.BatchHeader,
    policy: Policy,
) -> pb.Finding | None:
    """Return the alert: who was to be taken for whom, and by what. None by another policy."""
    change, verdict = event.login_user_change, policy.login_written
    if not verdict.alerts:
        return None
    key = digest("login written", header.host_id, image.exec_id)
    before = change.previous_login_user_id if change.HasField("previous_login_user_id") else None
    now = change.login_user_id if change.HasField("login_user_id") else None
    return pb.Finding(
        occurrence_id=digest(key, _named(before), _named(now)),
        host_id=header.host_id,
        herd=header.herd,
        chain_id=header.chain_id,
        batch_number=header.batch_number,
        event_time=event.event_time,
        actor=actor_of(image, above, 0, event.attribution),
        alert=pb.Alert(
            alert_key=key,
            type="processes",
            attack_type=verdict.attack_type,
            severity=verdict.severity,
            effect=verdict.effect,
            rule_name=policy.rule_name,
            attack_techniques=verdict.techniques,
            message=(
                f"{show(command_of(image)[:200])} {verdict.done}: from {_named(before)} "
                f"to {_named(now)}"
            ),
        ),
    )


def _named(user_id: int | None) -> str:
    return "nobody" if user_id is None else f"uid {user_id}"
