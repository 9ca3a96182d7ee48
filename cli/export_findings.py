"""What was found when an export was checked, in words: what is shown, and what is not."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from chassis.text import show
from cli.links import Links
from evidence.exports import claims
from nightherd.store.v1 import store_service_pb2 as pb

MOST_KEYS = 10
MOST_FILTER_CHARACTERS = 500


@dataclass(slots=True)
class Check:
    """What was found."""

    links: Links
    asked: pb.EventFilter
    events: int = 0
    held: int = 0
    """Batches whose rows are those that were written."""
    removed: int = 0
    recomputed: int = 0
    """Events whose rows were made again from the sealed body, and are the same."""
    remade: int = 0
    """Batches of which that is so."""
    all: bool = True
    """No filter but host and herd: every event of a batch was asked for."""
    whole: bool = False
    """The proof has its end."""


def tell(file: Path, check: Check) -> None:
    """Print it."""
    links = check.links
    state = "BROKEN" if links.fault_count else "intact"
    print(f"{file}: {state}: {check.events:,} events of {links.batches:,} batches")
    for fault in links.faults:
        print(f"  {fault}")
    if links.fault_count > len(links.faults):
        print(f"  and {links.fault_count - len(links.faults)} more")
    print(f"Asked for: {_asked(check.asked)}")
    print("What is shown:")
    for line in _shown(check):
        print(f"  {line}")
    print("What is not:")
    for line in _not_shown(check):
        print(f"  {line}")
    _tell_keys(links)


def _asked(asked: pb.EventFilter) -> str:
    said = MessageToDict(asked, preserving_proto_field_name=True)
    parts = [
        f"{name.replace('_', ' ')} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in said.items()
    ]
    return show("; ".join(parts))[:MOST_FILTER_CHARACTERS] or "all events"


def _shown(check: Check) -> list[str]:
    links = check.links
    shown = [
        f"the rows of {check.held:,} batches are those that were written with this proof",
        f"{links.links:,} links between neighbouring batches hold",
        f"{links.signed:,} of {links.batches:,} batches are vouched for by a host's signature",
        f"{check.recomputed:,} events were made again from their sealed bodies, and are the same",
    ]
    if links.given_up_sealed:
        shown.append(
            f"of {links.given_up_sealed:,} batches that are not here their agents said, in sealed "
            "batches, that they gave them up"
        )
    if links.fault_count or check.removed:
        return shown
    if check.all:
        shown.append("every event of each batch has a row")
    elif check.remade and check.remade == links.batches:
        shown.append("of each batch that is here, every event that matches has a row")
    return shown


def _not_shown(check: Check) -> list[str]:
    links = check.links
    missing = [] if check.all else [claims.FILTERED]
    if check.recomputed < check.events:
        count = check.events - check.recomputed
        missing.append(
            f"that {count:,} rows say what was sealed (export with --proof full, or ask the store)"
        )
    if links.absent:
        missing.append(
            f"what is in {links.absent:,} batches between others that are not in the export"
        )
    if said := links.given_up - links.given_up_sealed:
        missing.append(
            f"that the agents gave up {said:,} of these, as the proof says (export with "
            "--proof full)"
        )
    if links.forks:
        missing.append(
            f"which of two versions of {links.forks:,} batches is true (a host told both)"
        )
    if check.removed:
        missing.append(
            f"what was in {check.removed:,} batches of which the store has no body any more"
        )
    return [*missing, claims.ENDS, claims.NAMES]


def _tell_keys(links: Links) -> None:
    keys = {chain.key.hex(): host for (host, _), chain in links.chains.items() if chain.key}
    if links.trusted:
        return
    print("  that the signing keys are the hosts' own: compare, or give them with --key")
    for key, host in list(keys.items())[:MOST_KEYS]:
        print(f"    {show(host)} {key}")
