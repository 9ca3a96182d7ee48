"""How long tests wait: what takes a second here can take a slow host ten."""

import os
from typing import Final

TIMES: Final = float(os.environ.get("TEST_PATIENCE", "1"))
"""By how much this host is slower than a usual one; tests/lab says so in its guests."""


def patient(seconds: float) -> float:
    """Return how long to wait here for what takes `seconds` at most on a usual host."""
    return seconds * TIMES
