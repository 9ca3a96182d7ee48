"""What a child process gets to know."""

import os
from pathlib import Path

NOT_HANDED_ON = ("NOTIFY_SOCKET",)
"""Whoever supervises us is told by us."""
ROOT = Path(__file__).resolve().parent.parent


def environment(program: str = "", **settings: str) -> dict[str, str]:
    """Return a child's environment: ours, without settings of other programs.

    A setting in capitals is a variable as it is; others are settings of `program`.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if (not name.startswith("NIGHTHERD_") and name not in NOT_HANDED_ON)
        or name in ("NIGHTHERD_LOG_LEVEL", "NIGHTHERD_LOG_FORMAT", "NIGHTHERD_CONFIG")
        or (program and name.startswith(f"NIGHTHERD_{program.upper()}_"))
    }
    kept["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), str(ROOT / "gen"), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    prefix = f"NIGHTHERD_{program.upper()}_"
    for name, value in settings.items():
        key = name if name.isupper() else prefix + name.upper()
        kept[key] = value
    return kept
