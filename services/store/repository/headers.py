"""Headers of batches as documents, one collection a UTC day.

_id host/chain/number; h, c, n the same apart; d herd; t0, t1, s first and last event time and
sealed_time (wall ns); w set when it spans long; r when it came (wall ns); k header, g signature; x
terms, xv their version, xc whether they were cut, v events for each of them by letter (see
`counts`), m counts a minute and kind; e events; f flags; z bytes of the body as it came, 0 when it
was removed alone (days that are dropped keep theirs).

Bodies lie apart (see `bodies`). Questions about times, terms and counts read no body, and headers
outlive bodies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis import clock
from delivery.checks import Checked
from evidence.removals import Batch
from nightherd.event.v1 import delivery_pb2 as delivery
from services.store.domain.places import batch_key, collection_of
from services.store.repository.conditions import WIDE_NS
from services.store.repository.counts import values_of
from services.store.repository.days import Day

FORK = "fork"
"""Flag of a batch that came under a number that was taken."""


def index_fields(index: delivery.Index) -> dict[str, Any]:
    """Return what of a batch's document follows from its index."""
    return {
        "x": list(index.terms),
        "xv": index.version,
        "xc": index.terms_cut,
        "v": values_of(index.terms, index.term_counts),
        "m": [[count.minute, count.kind, count.count] for count in index.counts],
    }


def document_of(checked: Checked, received_ns: int) -> dict[str, Any]:
    """Return the document of a batch, its body apart."""
    header, batch = checked.header, checked.batch
    first = clock.from_timestamp(header.first_event_time)
    last = clock.from_timestamp(header.last_event_time)
    document: dict[str, Any] = {
        "_id": batch_key(*checked.key),
        "h": header.host_id,
        "c": header.chain_id.hex(),
        "n": header.batch_number,
        "d": header.herd,
        "t0": first,
        "t1": last,
        "s": clock.from_timestamp(header.sealed_time),
        "r": received_ns,
        "k": batch.header,
        "g": batch.signature,
        **index_fields(batch.index),
        "e": header.event_count,
        "f": list(checked.flags),
        "z": len(batch.body),
    }
    if last - first > WIDE_NS:
        document["w"] = True
    return document


def bounds_of(name: str, documents: Sequence[Mapping[str, Any]]) -> Day:
    """Return what a day has to cover for these."""
    return Day(
        name,
        min(document["t0"] for document in documents),
        max(document["t1"] for document in documents),
        any(document["xc"] for document in documents),
        any("w" in document for document in documents),
    )


def day_of(checked: Checked) -> str:
    """Return the collection of a batch: it follows from the batch alone."""
    return collection_of(clock.from_timestamp(checked.header.sealed_time))


def marked(document: Mapping[str, Any]) -> Batch:
    """Return what marks of removals go by."""
    return Batch(
        document["h"],
        collection_of(document["s"]),
        document["s"],
        document["t0"],
        document["t1"],
        document["r"],
    )
