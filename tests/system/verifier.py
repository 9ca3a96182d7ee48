"""Verifies chains of evidence from MongoDB's documents, and imports nothing of the product.

Written from the contract (protos/nightherd/event/v1/delivery.proto) alone: a mistake that the
product makes when it seals *and* when it verifies shows here.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import zstandard
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNING_KEY = x509.ObjectIdentifier("1.3.6.1.4.1.58080.1.1")
MINUTE_NS = 60 * 1_000_000_000


def wire(message: bytes) -> dict[int, list[Any]]:
    """Parse the fields of a protobuf message: number -> values (int or bytes)."""
    fields: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value: Any = varint()
        elif kind == 2:
            length = varint()
            value, at = message[at : at + length], at + length
            assert len(value) == length, "cut"
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"wire type {kind}")
        fields.setdefault(key >> 3, []).append(value)
    return fields


def one(fields: dict[int, list[Any]], number: int, default: Any) -> Any:
    """The value of a field that occurs once; as protobuf, the last one counts."""
    return fields[number][-1] if number in fields else default


def time_ns(stamp: bytes) -> int:
    """A google.protobuf.Timestamp in nanoseconds."""
    fields = wire(stamp)
    seconds = one(fields, 1, 0)
    seconds -= (seconds >> 63) << 64
    return seconds * 1_000_000_000 + one(fields, 2, 0)


@dataclass
class Chain:
    """What was found out about one chain."""

    host_id: str
    chain_id: str
    first: int = 0
    last: int = 0
    batches: int = 0
    events: int = 0
    signed: int = 0
    forks: int = 0
    longest_unsigned_ns: int = 0
    faults: list[str] = field(default_factory=list)


def signing_key(certificate_pem: bytes) -> Ed25519PublicKey:
    """The key that signs batches, from a host's certificate."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    extension = certificate.extensions.get_extension_for_oid(SIGNING_KEY)
    return Ed25519PublicKey.from_public_bytes(extension.value.value)


def documents(database: Any) -> Iterator[dict[str, Any]]:
    """Every stored batch with what is in its body as "p", in no order."""
    for name in database.list_collection_names():
        if name.startswith("batches"):
            bodies = {row["_id"]: _content(row) for row in database[f"bodies{name[7:]}"].find()}
            for document in database[name].find():
                yield document | {"p": bodies[document["_id"]]}


def _content(row: dict[str, Any]) -> bytes:
    """What is in a body: small ones lie plain, others as the frame in which they came."""
    if "p" in row:
        return bytes(row["p"])
    return zstandard.ZstdDecompressor().decompress(bytes(row["b"]), max_output_size=4 << 20)


def verify(database: Any, keys: dict[str, Ed25519PublicKey]) -> list[Chain]:
    """Check every chain in the store's database; `keys`: host id -> its signing key."""
    chains: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for document in documents(database):
        chains.setdefault((document["h"], document["c"]), []).append(document)
    return [
        _verify_chain(Chain(*name), stored, keys.get(name[0]))
        for name, stored in sorted(chains.items())
    ]


def _verify_chain(
    chain: Chain, stored: list[dict[str, Any]], key: Ed25519PublicKey | None
) -> Chain:
    stored.sort(key=lambda document: document["n"])
    expected, previous, signed_at = None, None, None
    for document in stored:
        header_bytes = bytes(document["k"])
        header = wire(header_bytes)
        number = one(header, 3, 0)
        where = f"batch {number}"
        key_here = f"{chain.host_id}/{chain.chain_id}/{number:015d}"
        digest = hashlib.sha256(header_bytes).digest()
        if document["_id"] == f"{key_here}/{digest.hex()}":  # another version, kept beside it
            chain.forks += 1
            _verify_body(chain, f"{where} (fork)", header, document["p"])
            continue
        if document["_id"] != key_here:
            chain.faults.append(f"{where}: lies under {document['_id']}")
        if one(header, 1, b"").decode() != chain.host_id or one(header, 2, b"").hex() != (
            chain.chain_id
        ):
            chain.faults.append(f"{where}: its header is of another chain")
        if expected is not None and number != expected:
            chain.faults.append(f"{where}: {expected} was expected")
        if previous is not None and one(header, 4, b"") != previous:
            chain.faults.append(f"{where}: names another batch before it")
        if number == 1 and one(header, 4, b""):
            chain.faults.append(f"{where}: names a batch before the first")
        chain.events += _verify_body(chain, where, header, document["p"])
        sealed = time_ns(one(header, 8, b""))
        signed_at = sealed if signed_at is None else signed_at
        if document["g"]:
            chain.signed += 1
            chain.longest_unsigned_ns = max(chain.longest_unsigned_ns, sealed - signed_at)
            signed_at = sealed
            _verify_signature(chain, where, key, bytes(document["g"]), digest)
        chain.first = chain.first or number
        chain.last, chain.batches = number, chain.batches + 1
        expected, previous = number + 1, digest
    return chain


def _verify_body(chain: Chain, where: str, header: dict[int, list[Any]], raw: bytes) -> int:
    events = len(wire(raw).get(2, []))
    if hashlib.sha256(raw).digest() != one(header, 5, b""):
        chain.faults.append(f"{where}: its body has another hash")
    if (len(raw), events) != (one(header, 6, 0), one(header, 7, 0)):
        chain.faults.append(f"{where}: its header lies about size or count")
    return events


def _verify_signature(
    chain: Chain, where: str, key: Ed25519PublicKey | None, signature: bytes, digest: bytes
) -> None:
    if key is None:
        return
    try:
        key.verify(signature, digest)
    except InvalidSignature:
        chain.faults.append(f"{where}: signed by another key")
