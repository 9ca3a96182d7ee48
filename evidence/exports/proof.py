"""The proof lines of an export: what was exported, and what the rows of each batch are held to.

A proof is JSON lines: first what was asked for, then a line a batch in the order of the rows, last
one that says that this is the end. docs/custody.md says what it proves.
"""

import base64
from collections.abc import Sequence
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict

from evidence import rows
from nightherd.store.v1 import store_service_pb2 as pb

VERSION = 1
HEADERS, FULL = "headers", "full"
MARK = b"#"
"""What a proof line begins with where it stands among rows: no row of any format does."""


def begin(asked: pb.EventFilter, name: str, proof: str, *, raw: bool) -> bytes:
    """Return the first line."""
    return _line(
        {
            "nightherdExport": VERSION,
            "rows": rows.VERSION,
            "format": name,
            "raw": raw,
            "proof": proof,
            "holes": True,
            "filter": MessageToDict(asked, preserving_proto_field_name=True),
        }
    )


def of_batch(
    batch: pb.StoredBatch,
    size: int,
    digest: str,
    events: int | None,
    proof: str,
    gaps: Sequence[tuple[int, int]] = (),
) -> bytes:
    """Return the line of a batch.

    Args:
        batch: as it is stored.
        size: of its rows as they were written, in bytes.
        digest: their SHA-256, hexadecimal.
        events: how many events became rows; None: the body cannot be read.
        proof: HEADERS or FULL, which has the body too.
        gaps: stretches of its chain that it says were given up (first, last).
    """
    line: dict[str, Any] = {
        "batch": batch.batch_id,
        "position": batch.position,
        "hostname": batch.hostname,
        "bytes": size,
        "sha256": digest,
        "header": _base64(batch.header),
        "signature": _base64(batch.signature),
    }
    if events is not None:
        line["events"] = events
    if gaps:
        line["givenUp"] = [list(one) for one in gaps]
    if batch.signing_key:
        line["signingKey"] = _base64(batch.signing_key)
    if not batch.body:
        line["bodyRemoved"] = True
    elif proof == FULL:
        line["body"] = _base64(batch.body)
    return _line(line)


def end(**file: Any) -> bytes:
    """Return the last line of an answer that is whole; `file`: what is known of the file."""
    return _line({"end": True, **file})


def _line(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document) + b"\n"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
