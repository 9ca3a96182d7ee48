"""Where a process came from that left its service, or that a manager started for somebody."""

from typing import Final

from nightherd.event.v1 import event_pb2 as events

_Born = events.BornFrom
PEOPLE: Final = frozenset(
    {
        events.PROVENANCE_INTERACTIVE,
        events.PROVENANCE_SCRIPTED,
        events.PROVENANCE_DETACHED,
    }
)
_FOR_ONE: Final = frozenset(
    {_Born.WAY_AT, _Born.WAY_CRON, _Born.WAY_TIMER, _Born.WAY_TRANSIENT_UNIT}
)
"""Ways by which a manager does what somebody wrote, and not what is installed."""


def is_put_there(born: events.BornFrom) -> bool:
    """Whether a person's session had a manager start what the person wrote."""
    return born.way in _FOR_ONE and born.provenance in PEOPLE


def of_image(
    image: events.Image,
    way: "_Born.Way.ValueType",
    attribution: "events.Attribution.ValueType" = events.ATTRIBUTION_INFERRED,
) -> events.BornFrom:
    """Return what is to be said of whatever came from `image`."""
    if image.HasField("born_from") and image.born_from.provenance in PEOPLE:
        # Through how many managers it may go: who began it counts.
        born = _Born()
        born.CopyFrom(image.born_from)
        born.way = way
        return born
    born = _Born(
        exec_id=image.exec_id,
        service=image.service,
        provenance=image.provenance,
        way=way,
        attribution=attribution,
        source_address=image.source_address,
    )
    if image.HasField("login_user_id"):
        born.login_user_id = image.login_user_id
        born.login_user = image.login_user
    if image.HasField("session_id"):
        born.session_id = image.session_id
    return born
