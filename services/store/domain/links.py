"""Whether batches that were just stored continue their chains, whatever stream they came by."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from nightherd.event.v1 import delivery_pb2 as pb
from services.store.domain.custody import Fault


@dataclass(frozen=True, slots=True)
class Walked:
    """How far a chain was walked."""

    number: int = 0
    hash: bytes = b""
    """Hash of the batch `number`; empty: not known."""


def walk(
    walked: Walked, remembered: Mapping[int, bytes], found: Sequence[tuple[int, bytes]]
) -> tuple[list[Fault], Walked]:
    """Return what is wrong with the next stretch of a chain, and how far it was walked.

    Args:
        walked: where the walk before ended.
        remembered: number -> hash, noted when the batches were stored.
        found: (number, header) of the stretch as it is stored now, in order.
    """
    faults: list[Fault] = []
    there = {number for number, _ in found}
    for number, header in found:
        hashed = hashlib.sha256(header).digest()
        if remembered.get(number, hashed) != hashed:
            faults.append(Fault(number, "altered", "it is not the one that was stored"))
        elif walked.number == number - 1 and not _continues(header, walked):
            faults.append(Fault(number, "broken link", "it does not continue the one before it"))
        walked = Walked(number, hashed)
    gone = sorted(remembered.keys() - there)
    faults += [Fault(number, "gone", "it was stored and is not there") for number in gone]
    if remembered and max(remembered) > walked.number:
        walked = Walked(max(remembered), remembered[max(remembered)])
    return faults, walked


def _continues(header: bytes, walked: Walked) -> bool:
    if walked.number and not walked.hash:
        return True
    try:
        return pb.BatchHeader.FromString(header).previous_hash == walked.hash
    except DecodeError:
        return False
