"""What the proof of an export shows, and what it does not, in sentences for who reads it."""

from evidence.exports.proof import FULL
from nightherd.store.v1 import store_service_pb2 as pb

FILTERED = (
    "that no event that matches is missing: a filter was asked for, and of what did not match, "
    "whole batches included, nothing is here"
)
UNSEALED = "that the rows say what the hosts sealed (that takes a full proof, or asking the store)"
ENDS = "that nothing is missing behind the last batch of each chain"
NAMES = "names of hosts, which the store adds"
KEYS = "that the signing keys are the hosts' own, unless they are compared"


def is_whole(asked: pb.EventFilter) -> bool:
    """Whether all events of a batch match that is asked for: hosts and herds are the batch's."""
    return all(field.name in ("hosts", "herds") for field, _ in asked.ListFields())


def claims(asked: pb.EventFilter, proof: str) -> dict[str, list[str]]:
    """Return what an export of `asked` with a `proof` (HEADERS, FULL) can be held to."""
    shown = [
        "the rows of each batch are those that were written with this proof",
        "batches whose numbers follow one another are linked, and none between them is missing",
    ]
    if is_whole(asked):
        shown.append("every event of each batch has a row")
    if proof == FULL:
        shown.append("the rows say what the hosts sealed")
        if not is_whole(asked):
            shown.append("of each batch that is here, every event that matches has a row")
    missing = [] if is_whole(asked) else [FILTERED]
    if proof != FULL:
        missing.append(UNSEALED)
    return {"shows": shown, "doesNotShow": [*missing, ENDS, NAMES, KEYS]}
