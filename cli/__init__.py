"""The command line: runs things on this machine and asks the gateway."""

import sys
from pathlib import Path

# In a checkout what is generated lies beside us; an installed Nightherd has it on its path.
_GENERATED = Path(__file__).resolve().parent.parent / "gen"
if _GENERATED.is_dir() and str(_GENERATED) not in sys.path:
    sys.path.append(str(_GENERATED))
