"""Ports of 127.0.0.1 for the programs, the same at every start where they are free."""

import json
import random
import socket
from collections.abc import Container

from cli.errors import UpError
from cli.homes import Home

PROGRAMS = ("store", "modeler", "detector", "enrolment")
API = 8083
CHOICE = range(20_000, 32_768)
"""Below those that Linux gives to connections: while a program is away, one that is made to it, or
any other, could be given its very port."""


def port_is_free(port: int) -> bool:
    """Whether a TCP port of 127.0.0.1 can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(taken: Container[int] = ()) -> int:
    """Return a port of `CHOICE` that can be listened on and is not `taken`.

    Raises:
        UpError: there is none.
    """
    for port in random.sample(CHOICE, len(CHOICE)):
        if port not in taken and port_is_free(port):
            return port
    raise UpError(f"no port of 127.0.0.1 from {CHOICE[0]} to {CHOICE[-1]} is free")


def known_ports(home: Home) -> dict[str, int]:
    """Return the ports of last time; empty: nothing ever ran."""
    try:
        known = json.loads((home.state / "ports.json").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def known_port(home: Home) -> int:
    """Return the API's port of the last start; that of the documentation where nothing ever ran."""
    try:
        port = int((home.state / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return API
    return port if 0 < port < 65536 else API  # noqa: PLR2004


def known_address(home: Home) -> str:
    """Return the address on which agents were received last time."""
    try:
        return (home.state / "listen").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "127.0.0.1"


def choose_ports(home: Home, *taken: int) -> dict[str, int]:
    """Return a port for each program: those of last time where they are free, none of `taken`."""
    known = known_ports(home)
    ports: dict[str, int] = {}
    for name in PROGRAMS:
        port, used = known.get(name), {*taken, *ports.values()}
        if not (isinstance(port, int) and 0 < port < 65536 and port not in used):  # noqa: PLR2004
            port = None
        ports[name] = port if port and port_is_free(port) else free_port(used)
    (home.state / "ports.json").write_text(json.dumps(ports), encoding="ascii")
    return ports
