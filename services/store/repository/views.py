"""Parts of updates that come to the same whatever order and repetition they come in."""

from collections.abc import Sequence
from typing import Any


def united(name: str, values: Sequence[Any], most: int) -> dict[str, Any]:
    """Unite `values` with what is there; of too many, the smallest stay, whatever came first."""
    union = {"$setUnion": [{"$ifNull": [f"${name}", []]}, {"$literal": list(values)}]}
    return {"$slice": [{"$sortArray": {"input": union, "sortBy": 1}}, most]}
