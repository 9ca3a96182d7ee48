"""What a body says of batches that are missing from its chain."""

from nightherd.event.v1 import event_pb2 as events

_KEY = events.Event.GAP_FIELD_NUMBER << 3 | 2
_GAP = bytes((_KEY & 0x7F | 0x80, _KEY >> 7))
"""Without these bytes a body tells of no gap: looking for them costs less than reading events."""
MOST_GAPS = 1000
"""Of one body; an agent that lies may say any number."""


def given_up(raw: bytes, body: events.EventBatch) -> list[tuple[int, int]]:
    """Return which batches (first, last) a body, serialised as `raw`, says to be missing."""
    if _GAP not in raw:
        return []
    found = [
        (event.gap.first_batch, event.gap.last_batch)
        for event in body.events
        if event.HasField("gap") and 0 < event.gap.first_batch <= event.gap.last_batch
    ]
    return found[:MOST_GAPS]
