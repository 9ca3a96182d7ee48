"""Build hook: makes gen/ out of protos/, so that a wheel carries its generated code."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProtosHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs the same generator as `make protos` before anything is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Generate gen/ (called by hatchling before each target is built)."""
        sys.path.insert(0, self.root)
        from protos.generate import generate  # noqa: PLC0415

        generate(Path(self.root) / "protos", Path(self.root) / "gen")
