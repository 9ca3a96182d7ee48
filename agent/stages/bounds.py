"""How much one event and one image may say: what exceeds is split, cut, marked and counted.

What an attacker names (paths, arguments, answers of a name server) goes into events. A batch that
no receiver takes would take everybody's events with it, so nothing here grows beyond a bound that
is far below what a batch may hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from nightherd.event.v1 import event_pb2 as events

MOST_EVENT_BYTES = 64 << 10
MOST_IMAGE_BYTES = 24 << 10
MOST_LINE_BYTES = 24 << 10
MOST_TEXT_BYTES = 4096
"""One name, path or sentence: PATH_MAX."""
MOST_CANDIDATES = 64
"""Images that may have made a change, named with it."""
MOST_ID_BYTES = 128
"""An exec_id has about 80."""
LEAST_TEXT_BYTES = 64
_CUT = b"/.../"
"""Stands where bytes were cut from the middle of a path."""
_LISTS = {"file_change": "changes", "file_read": "reads"}
"""Facts of which one event bears several, and which are spread over more events instead of cut."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Serialised sizes in bytes."""

    event: int = MOST_EVENT_BYTES
    image: int = MOST_IMAGE_BYTES
    line: int = MOST_LINE_BYTES
    """Of all that stands above an image."""

    @classmethod
    def within(cls, body_size_bytes: int) -> "Bounds":
        """Return the bounds by which any event fits into half a body of this size."""
        share = body_size_bytes // 8
        return cls(
            min(MOST_EVENT_BYTES, share), min(MOST_IMAGE_BYTES, share), min(MOST_LINE_BYTES, share)
        )


def cut_path(path: bytes, most: int = MOST_TEXT_BYTES) -> tuple[bytes, int]:
    """Return a path of at most `most` bytes, and how many were cut from its middle.

    Its beginning says where it is, its end what it is: both stay.
    """
    if len(path) <= most:
        return path, 0
    room = most - len(_CUT)
    end = room // 2
    return path[: room - end] + _CUT + path[len(path) - end :], len(path) - room


def pieces(event: events.Event, bounds: Bounds) -> tuple[list[events.Event], int]:
    """Return an event as one or more within the bound, and how many facts were left out.

    Nearly all are small, and returned as they are.
    """
    size = event.ByteSize()
    if size <= MOST_TEXT_BYTES and size <= bounds.event:
        return [event], 0
    kind = event.WhichOneof("kind") or ""
    if not kind:
        return [event], 0
    said: Any = getattr(event, kind)
    left_out = _fewer_candidates(said, min(MOST_CANDIDATES, max(bounds.event // 512, 1)))
    most_text = min(MOST_TEXT_BYTES, max(bounds.event // 4, LEAST_TEXT_BYTES))
    if left_out:
        event.cut = True
    if kind == "file_change":
        # Whether a path was cut is said by its change: that is no reason to mark the others.
        event.cut = event.cut and not any(change.path_cut_bytes for change in said.changes)
        for change in said.changes:
            _cut_change(change, most_text)
    if _shorten(said, most_text):
        event.cut = True
    if event.ByteSize() <= bounds.event:
        event.cut = event.cut or _has_cut_path(event)
        return [event], left_out
    if kind in _LISTS:
        return list(_spread(event, kind, _LISTS[kind], bounds.event)), left_out
    return [event], left_out + _reduce(event, said, bounds.event)


def smaller_image(image: events.Image, bounds: Bounds) -> events.Image | None:
    """Return a copy within the bound; None: the image is within it."""
    size = image.ByteSize()
    if size <= MOST_TEXT_BYTES and size <= bounds.image:
        return None
    copy = events.Image()
    copy.CopyFrom(image)
    cut = _shorten(copy, min(MOST_TEXT_BYTES, max(bounds.image // 8, LEAST_TEXT_BYTES)))
    while copy.arguments and copy.ByteSize() > bounds.image:
        del copy.arguments[len(copy.arguments) // 2 :]
        copy.arguments_cut = cut = True
    most = MOST_TEXT_BYTES
    while copy.ByteSize() > bounds.image and most > LEAST_TEXT_BYTES:
        most //= 2
        cut = _shorten(copy, most) or cut
    return copy if cut else None


def _fewer_candidates(said: Any, most: int) -> int:
    candidates: Any = getattr(said, "candidate_exec_ids", ())
    left_out = max(len(candidates) - most, 0)
    if left_out:
        del candidates[most:]
    for place, exec_id in enumerate(candidates):
        if len(exec_id) > MOST_ID_BYTES:
            candidates[place] = exec_id[:MOST_ID_BYTES]
    return left_out


def _has_cut_path(event: events.Event) -> bool:
    return any(change.path_cut_bytes for change in event.file_change.changes)


def _cut_change(change: events.FileChange.Change, most: int) -> None:
    whole = not change.path_cut_bytes
    path, cut = _cut_more(change.path, most, whole=whole)
    previous, cut_too = _cut_more(change.previous_path, most, whole=whole)
    if cut or cut_too:
        change.path, change.previous_path = path, previous
        change.path_cut_bytes += cut + cut_too


def _cut_more(path: bytes, most: int, *, whole: bool) -> tuple[bytes, int]:
    """Cut a path that may have been cut before: what stands where it was is no part of it."""
    shorter, cut = cut_path(path, most)
    middle = (len(path) - len(_CUT) + 1) // 2
    if cut and not whole and path.startswith(_CUT, middle):
        cut -= len(_CUT)
    return shorter, cut


def _spread(event: events.Event, kind: str, name: str, most: int) -> Iterator[events.Event]:
    """Yield events that bear the facts of one, each within the bound."""
    facts = list(getattr(getattr(event, kind), name))
    frame = events.Event()
    frame.CopyFrom(event)
    del getattr(getattr(frame, kind), name)[:]
    base = frame.ByteSize() + _OVERHEAD
    at = 0
    while at < len(facts):
        piece = events.Event()
        piece.CopyFrom(frame)
        told, size = getattr(getattr(piece, kind), name), base
        while at < len(facts):
            size += facts[at].ByteSize() + _OVERHEAD
            if size > most and len(told):
                break
            told.append(facts[at])
            at += 1
        piece.cut = piece.cut or _has_cut_path(piece)
        yield piece


_OVERHEAD = 8
"""Bytes by which a message grows beside its content where it stands in another."""


def _reduce(event: events.Event, said: Message, most: int) -> int:
    """Leave out elements of lists, then parts of texts, until `event` fits; count the elements."""
    left_out = 0
    event.cut = True
    while event.ByteSize() > most:
        lists = [value for field, value in said.ListFields() if field.is_repeated and len(value)]
        longest = max(lists, key=_size_of, default=None)
        if longest is None:
            break
        gone = (len(longest) + 1) // 2
        del longest[len(longest) - gone :]
        left_out += gone
    text = MOST_TEXT_BYTES
    while event.ByteSize() > most and text > LEAST_TEXT_BYTES:
        text //= 2
        _shorten(said, text)
    return left_out


def _size_of(value: Any) -> int:
    return sum(each.ByteSize() if isinstance(each, Message) else len(str(each)) for each in value)


def _shorten(message: Message, most: int) -> bool:
    """Cut every text in a message to `most` bytes; whether any was longer."""
    cut = False
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in value if field.is_repeated else (value,):
                cut = _shorten(each, most) or cut
        elif field.type in (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING):
            if field.is_repeated:
                for place, each in enumerate(value):
                    if (shorter := _shorter(each, most)) is not None:
                        value[place], cut = shorter, True
            elif (shorter := _shorter(value, most)) is not None:
                setattr(message, field.name, shorter)
                cut = True
    return cut


def _shorter(value: bytes | str, most: int) -> bytes | str | None:
    """Return what is left of a text of more than `most` bytes; None: it is not longer."""
    if isinstance(value, bytes):
        return value[:most] if len(value) > most else None
    if len(value) <= most // 4:  # no character has more than four bytes
        return None
    content = value.encode()
    return content[:most].decode(errors="ignore") if len(content) > most else None
