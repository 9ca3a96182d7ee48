"""Whether the chain in a spool folder is whole: for `nightherd verify --spool`."""

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent import segments
from nightherd.event.v1 import delivery_pb2 as pb


def verify_spool(folder: Path, key: bytes) -> int:
    """Check numbers, links and (with a 32-byte `key`) signatures; print the result.

    Returns:
        0 when the chain is whole, 1 when it is not, 2 when there is no spool.
    """
    paths = sorted(folder.glob("*.seg"))
    if not paths:
        print(f"no spool in {folder}")  # noqa: T201
        return 2
    public = Ed25519PublicKey.from_public_bytes(key) if key else None
    number, link, faults, count = 0, b"", 0, 0
    for path in paths:
        end = 0
        for record in segments.read(path):
            batch = record.batch
            header = pb.BatchHeader.FromString(batch.header)
            fault = ""
            if record.offset > end:
                print(f"{path.name}: {record.offset - end} damaged bytes at {end}")  # noqa: T201
                faults += 1
            if number and header.batch_number != number + 1:
                fault = f"batch {number + 1} is missing"
            elif number and header.previous_hash != link:
                fault = f"batch {header.batch_number} does not name the batch before it"
            elif public is not None and batch.signature:
                fault = _signature(public, batch, header.batch_number)
            if fault:
                print(fault)  # noqa: T201
                faults += 1
            number, link = header.batch_number, hashlib.sha256(batch.header).digest()
            count, end = count + 1, record.end
        if path.stat().st_size > end:
            print(f"{path.name}: {path.stat().st_size - end} torn or damaged bytes at the end")  # noqa: T201
            faults += 1
    print(f"{count} batches, last {number}, head {link.hex()}: {'broken' if faults else 'intact'}")  # noqa: T201
    return 1 if faults else 0


def _signature(key: Ed25519PublicKey, batch: pb.SealedBatch, number: int) -> str:
    try:
        key.verify(batch.signature, hashlib.sha256(batch.header).digest())
    except InvalidSignature:
        return f"batch {number} is not signed by this key"
    return ""
