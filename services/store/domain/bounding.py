"""What an answer repeats for every event is bounded: the same megabyte could come with each.

Agents seal far less (4 KiB of arguments, 512 B of an ancestor's command); receivers take bodies as
they are, and answers cut what is longer.
"""

from typing import TypeVar

from nightherd.event.v1 import event_pb2 as events

MOST_PROCESS_BYTES = 16 << 10
"""Of an image or an ancestor that is told as it is."""
MOST_FIELD = 4096
"""Characters or bytes of a field of one that is larger."""

Process = TypeVar("Process", events.Image, events.Ancestor)


def bounded(process: Process) -> Process:
    """Cut the fields of an image or an ancestor that is larger than any agent seals; return it."""
    if process.ByteSize() <= MOST_PROCESS_BYTES:
        return process
    for field, value in process.ListFields():
        if isinstance(value, bytes | str):
            setattr(process, field.name, value[:MOST_FIELD])
    if isinstance(process, events.Image):
        process.arguments[:] = [b" ".join(process.arguments)[:MOST_FIELD]]
        process.arguments_cut = True
    return process
