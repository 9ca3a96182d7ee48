"""A fact in one sentence, for formats that want one."""

from evidence.exports.facts import Fact
from evidence.wording import event_sentence
from nightherd.event.v1 import event_pb2 as events


def sentence(fact: Fact) -> str:
    """Return who did what; of an event with several changes only the one that the fact is."""
    event = fact.event
    if fact.change is not None and len(event.file_change.changes) > 1:
        event = events.Event()
        event.CopyFrom(fact.event)
        del event.file_change.changes[:]
        event.file_change.changes.append(fact.change)
    return event_sentence(event, fact.image)
