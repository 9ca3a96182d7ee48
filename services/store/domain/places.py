"""Where a batch lies: its collection and its id follow from the batch alone."""

import datetime as dt

NS = 1_000_000_000
PREFIX = "batches_"
UNDATED = f"{PREFIX}undated"
BODIES = "bodies_"
KEPT_BODIES = "kept_bodies"
"""Bodies that incidents keep when their day goes."""
# A sealed_time outside these years is no date but a broken clock.
FIRST_YEAR, LAST_YEAR = 2020, 2100


def collection_of(sealed_ns: int) -> str:
    """Return the name of the collection for a batch sealed at `sealed_ns` (wall, UTC)."""
    try:
        day = dt.datetime.fromtimestamp(sealed_ns // NS, dt.UTC)
    except (OverflowError, OSError, ValueError):
        return UNDATED
    if not FIRST_YEAR <= day.year < LAST_YEAR:
        return UNDATED
    return f"{PREFIX}{day:%Y%m%d}"


def bodies_of(name: str) -> str:
    """Return the collection with the bodies of the batches in the collection `name`."""
    return BODIES + name.removeprefix(PREFIX)


def chain_key(host_id: str, chain_id: bytes) -> str:
    """Id of a chain's document."""
    return f"{host_id}/{chain_id.hex()}"


def batch_key(host_id: str, chain_id: bytes, number: int) -> str:
    """Id of a batch's document; sorts by number within its chain."""
    return f"{chain_key(host_id, chain_id)}/{number:015d}"


def fork_key(key: str, header_hash: bytes) -> str:
    """Id of another version of the batch `key`; sorts right behind it."""
    return f"{key}/{header_hash.hex()}"
