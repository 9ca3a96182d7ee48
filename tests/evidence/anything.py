"""Batches of any content that the messages allow: every kind, every field, hostile values."""

import random

from evidence.rows import Batch
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

TEXTS = [
    "",
    "root",
    "=1+1",
    "-x",
    "@a",
    'a"b',
    "a,b;c",
    "\x00\x1b[31m\r\n",
    "\u202eevil",
    "zoë",
    "x" * 300,
    "1.2.3.4",
    "::1",
    "{}",
    "\\",
    "' OR 1",
    "\u2028",
]
BYTES = [text.encode() for text in TEXTS] + [
    b"\xff\xfe",
    b"/etc/passwd",
    b"/tmp/a\nb",
    b'=cmd|"\xff,',
]
NUMBERS = [0, 1, 2, 3, 7, 255, 2**31 - 1, -1, -(2**31)]
KINDS = [field.name for field in events.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
HOST = "ab" * 16
BATCH_ID = f"{HOST}/{'cd' * 16}/{1:015d}"


def fill(rng, message, depth=0):
    """Set some fields of a message to anything."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and not field.has_presence:
            continue
        if field.containing_oneof is not None and field.containing_oneof.name == "kind":
            continue
        if rng.random() < 0.3:
            continue
        if field.is_repeated:
            for _ in range(rng.randrange(4)):
                if field.type == field.TYPE_MESSAGE:
                    fill(rng, getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(value(rng, field))
        elif field.type == field.TYPE_MESSAGE:
            stamp(rng, message, field) if field.message_type.name == "Timestamp" else fill(
                rng, getattr(message, field.name), depth + 1
            )
        else:
            setattr(message, field.name, value(rng, field))
    return message


def stamp(rng, message, field):
    moment = getattr(message, field.name)
    moment.seconds = rng.choice([0, 1_795_000_000, 1_795_000_001, -5, 2**40, 253402300799])
    moment.nanos = rng.choice([0, 1, 999_999, 1_000_000, 999_999_999, -1])


def value(rng, field):
    if field.type == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return rng.choice(BYTES)
    if field.type == field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return rng.choice([*field.enum_type.values_by_number, 99])
    number = rng.choice(NUMBERS)
    unsigned = field.type in (field.TYPE_UINT32, field.TYPE_UINT64)
    return abs(number) if unsigned else number


def a_batch(seed, count=12):
    """A batch of `count` events of any kind, and of none."""
    rng = random.Random(seed)
    body = events.EventBatch()
    for _ in range(rng.randrange(4)):
        fill(rng, body.images.add()).ancestor = rng.randrange(-1, 6)
    for _ in range(rng.randrange(5)):
        fill(rng, body.ancestors.add()).above = rng.randrange(-1, 6)
    for _ in range(count):
        event = fill(rng, body.events.add())
        kind = rng.choice([*KINDS, ""])
        if kind:
            getattr(event, kind).SetInParent()
            fill(rng, getattr(event, kind))
        event.ClearField("actor")
        if rng.random() < 0.8:
            event.actor = rng.randrange(-1, 5)
    header = delivery.BatchHeader(host_id=HOST, batch_number=1, herd=rng.choice(TEXTS), origin=1)
    return Batch(BATCH_ID, header, rng.choice(TEXTS), body)
