"""The index of a batch: which terms and how many events of each kind a minute it holds."""

from collections.abc import Iterable

from chassis.text import show
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

VERSION = 1
MOST_TERMS = 512
MOST_TERM_BYTES = 128


def index_of(body: events.EventBatch) -> delivery.Index:
    """Return the index of `body`; it says when terms had to be left out."""
    terms: dict[str, None] = {}
    cut = False
    for image in body.images:
        for prefix, value in (
            ("u", image.user),
            ("l", image.login_user),
            ("s", image.service),
            ("x", show(image.executable)),
            ("n", str(image.session_id) if image.HasField("session_id") else ""),
        ):
            if value:
                terms[f"{prefix}:{value}"] = None
    counts: dict[tuple[int, str], int] = {}
    for event in body.events:
        kind = event.WhichOneof("kind") or ""
        key = (event.event_time.seconds // 60, kind)
        counts[key] = counts.get(key, 0) + (event.count or 1)
        if kind == "file_change":
            for change in event.file_change.changes:
                terms[f"p:{show(change.path)}"] = None
    kinds = {f"k:{kind}": None for _, kind in counts}
    kept = [term for term in (*kinds, *terms) if len(term.encode()) <= MOST_TERM_BYTES]
    cut = len(kept) < len(kinds) + len(terms) or len(kept) > MOST_TERMS
    return delivery.Index(
        version=VERSION,
        terms=kept[:MOST_TERMS],
        terms_cut=cut,
        counts=_counts(counts.items()),
    )


def _counts(counts: Iterable[tuple[tuple[int, str], int]]) -> list[delivery.Index.Count]:
    return [
        delivery.Index.Count(minute=minute, kind=kind, count=count)
        for (minute, kind), count in sorted(counts)
    ]
