"""The tables that come with the detector."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from services.detector.domain import activity_table, policy
from services.detector.domain.activity_table import Table
from services.detector.domain.policy import Policy


def document(name: str) -> dict[str, Any]:
    """Return a packaged YAML file as it is."""
    text = (files(__package__) / name).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@cache
def table() -> Table:
    """Return what makes activities."""
    return activity_table.parse(document("activities.yaml"))


@cache
def default_policy() -> Policy:
    """Return the policy of a herd that has none of its own."""
    return policy.parse(document("policy.yaml"))
