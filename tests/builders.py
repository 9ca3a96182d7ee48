"""Things to test with; every argument has a valid default, so a test shows only what matters.

Import as `from tests.builders import …` (the checkout's root is on the path).
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import clock
from evidence.lineage import put_above
from evidence.terms import index_of
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

HOST = "0" * 32
CHAIN = bytes(range(16))
BOOT = "b00t0000-0000-0000-0000-000000000000"
T0 = 1_795_000_000 * clock.NS
"""A moment in November 2026, in wall nanoseconds."""


def exec_id(pid: int, start: int = 1000, boot_ns: int = 5_000_000_000) -> str:
    """An exec_id as agents make it."""
    return f"{BOOT}:{pid}:{start}:{boot_ns}"


def an_ancestor(executable: str | bytes = "/bin/bash", pid: int = 400, **fields) -> events.Ancestor:
    """An image above another."""
    values = {"exec_id": exec_id(pid), "pid": pid, "executable": _bytes(executable)}
    values |= fields
    return events.Ancestor(**values)


def an_image(
    executable: str | bytes = "/usr/bin/true",
    arguments: Sequence[str | bytes] | None = None,
    pid: int = 500,
    service: str = "nginx.service",
    provenance: int = events.PROVENANCE_SERVICE,
    **fields,
) -> events.Image:
    """An image of a service, run by root outside any session."""
    values = {
        "exec_id": exec_id(pid),
        "pid": pid,
        "ppid": 1,
        "executable": _bytes(executable),
        "arguments": [_bytes(a) for a in (arguments or [executable])],
        "working_directory": b"/",
        "user": "root",
        "service": service,
        "provenance": provenance,
        "start_time": clock.to_timestamp(T0),
    }
    values |= fields
    return events.Image(**values)


def a_person(
    executable: str | bytes = "/usr/sbin/useradd",
    arguments: Sequence[str | bytes] | None = None,
    login_user: str = "alice",
    terminal: str = "pts/1",
    session_id: int = 7,
    **fields,
) -> events.Image:
    """An image in a person's session: at a terminal, or scripted when `terminal` is empty."""
    provenance = events.PROVENANCE_INTERACTIVE if terminal else events.PROVENANCE_SCRIPTED
    values = {
        "service": "",
        "provenance": provenance,
        "login_user": login_user,
        "login_user_id": 1001,
        "session_id": session_id,
        "terminal": terminal,
    }
    values |= fields
    return an_image(executable, arguments, **values)


class Below(NamedTuple):
    """An image and what stands above it, nearest first."""

    image: events.Image
    ancestors: Sequence[events.Ancestor]


def below(image: events.Image, *ancestors: events.Ancestor) -> Below:
    """An image with what stands above it, for `a_body`."""
    return Below(image, ancestors)


def an_event(actor: int | None = 0, time_ns: int = T0, **kind) -> events.Event:
    """An event; name its kind: `an_event(exec=events.Exec())`."""
    event = events.Event(
        event_time=clock.to_timestamp(time_ns),
        attribution=events.ATTRIBUTION_EXACT,
        **(kind or {"exec": events.Exec()}),
    )
    if actor is not None:
        event.actor = actor
    return event


def changes(
    *paths: str | bytes, operation: int = events.FileChange.OPERATION_MODIFIED
) -> events.FileChange:
    """Files changed by one image."""
    return events.FileChange(
        changes=[events.FileChange.Change(path=_bytes(p), operation=operation) for p in paths]
    )


def a_body(*items: tuple[events.Image | Below, events.Event]) -> events.EventBatch:
    """A body out of (image, event) pairs; equal images are shared and actors are set."""
    body = events.EventBatch()
    places: dict[str, int] = {}
    for who, event in items or ((an_image(), an_event()),):
        image, ancestors = who if isinstance(who, Below) else (who, ())
        if image.exec_id not in places:
            places[image.exec_id] = len(body.images)
            body.images.append(image)
            put_above(body, body.images[-1], ancestors)
        copy = body.events.add()
        copy.CopyFrom(event)
        copy.actor = places[image.exec_id]
    return body


def sealed_batch(
    body: events.EventBatch | None = None,
    number: int = 1,
    previous: delivery.SealedBatch | None = None,
    host_id: str = HOST,
    herd: str = "default",
    chain_id: bytes = CHAIN,
    signer: Ed25519PrivateKey | None = None,
    sealed_ns: int | None = None,
    **header_fields,
) -> delivery.SealedBatch:
    """A sealed batch that any receiver takes; header fields may be bent on purpose."""
    body = a_body() if body is None else body
    raw = body.SerializeToString()
    times = [clock.from_timestamp(e.event_time) for e in body.events] or [T0]
    values = {
        "host_id": host_id,
        "chain_id": chain_id,
        "batch_number": number,
        "previous_hash": batch_hash(previous) if previous is not None else b"",
        "body_hash": hashlib.sha256(raw).digest(),
        "body_size_bytes": len(raw),
        "event_count": len(body.events),
        "sealed_time": clock.to_timestamp(max(times) if sealed_ns is None else sealed_ns),
        "first_event_time": clock.to_timestamp(min(times)),
        "last_event_time": clock.to_timestamp(max(times)),
        "boot_id": BOOT,
        "wall_minus_boot_ns": T0,
        "herd": herd,
        "origin": delivery.ORIGIN_LIVE,
        "body_format": 1,
        "redaction_version": 1,
        "agent_version": "0.1.0",
    }
    values |= header_fields
    header = delivery.BatchHeader(**values).SerializeToString()
    return delivery.SealedBatch(
        header=header,
        signature=signer.sign(hashlib.sha256(header).digest()) if signer else b"",
        body=zstandard.ZstdCompressor(level=3).compress(raw),
        index=index_of(body),
    )


def batch_hash(batch: delivery.SealedBatch) -> bytes:
    """The hash of a batch: SHA-256 over its header's bytes."""
    return hashlib.sha256(batch.header).digest()


def a_chain(bodies: Iterable[events.EventBatch | None], **options) -> list[delivery.SealedBatch]:
    """Batches 1, 2, 3 … linked to one another."""
    chain: list[delivery.SealedBatch] = []
    for number, body in enumerate(bodies, start=1):
        previous = chain[-1] if chain else None
        chain.append(sealed_batch(body, number, previous, **options))
    return chain


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
