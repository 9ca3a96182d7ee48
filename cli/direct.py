"""`nightherd direct`: what agents are asked to watch and at which level to work."""

import sys
from typing import Any

from cli.homes import Home
from cli.output import rows
from cli.rest import Gateway, RestError

PATH = "nightherd/directives"
COLUMNS = ("host", "herd", "level", "watchPaths", "by", "at")
REFUSED = 4


def show_asked(home: Home) -> int:
    """Print the directives in force; return 0, or 4 when the gateway refuses to list them."""
    try:
        found, _ = Gateway(home).get(PATH)
    except RestError as error:
        return _refused(error)
    rows(found, COLUMNS, "table", wide=True)
    return 0


def ask(home: Home, wanted: dict[str, Any]) -> int:
    """Ask it; 0, or 4 when it was refused."""
    try:
        asked = Gateway(home).post(PATH, wanted)
    except RestError as error:
        return _refused(error)
    whom = f"host {asked['host']}" if asked["host"] else f"herd {asked['herd']}"
    paths = ", ".join(asked["watchPaths"]) or "no further paths"
    print(f"{whom}: {paths}, level {asked['level']}; connected agents do it within half a minute")
    return 0


def _refused(error: RestError) -> int:
    print(f"nightherd: {error}", file=sys.stderr)
    return REFUSED
