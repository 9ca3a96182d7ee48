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
