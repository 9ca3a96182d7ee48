"""A fact in one sentence, for formats that want one."""

from evidence.exports.facts import Fact
from evidence.wording import event_sentence
from nightherd.event.v1 import event_pb2 as events


def sentence(fact: Fact) -> str:
    """Return who did what; of an event with several paths only the one that the fact is."""
    event = fact.event
    if fact.change is not None and len(event.file_change.changes) > 1:
        event = events.Event()
        event.CopyFrom(fact.event)
        del event.file_change.changes[:]
        event.file_change.changes.append(fact.change)
        event.file_change.ClearField("changes_cut")
    elif fact.read is not None and len(event.file_read.reads) > 1:
        event = events.Event()
        event.CopyFrom(fact.event)
        del event.file_read.reads[:]
        event.file_read.reads.append(fact.read)
        event.file_read.ClearField("reads_cut")
    return event_sentence(event, fact.image)
