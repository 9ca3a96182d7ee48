"""Ports of 127.0.0.1 for the programs, the same at every start where they are free."""

import json
import socket

from cli.homes import Home

PROGRAMS = ("store", "modeler", "detector", "enrolment")


def port_is_free(port: int) -> bool:
    """Whether a TCP port of 127.0.0.1 can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def known_ports(home: Home) -> dict[str, int]:
    """Return the ports of last time; empty: nothing ever ran."""
    try:
        known = json.loads((home.state / "ports.json").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def choose_ports(home: Home) -> dict[str, int]:
    """Return a port for each program: those of last time where they are free."""
    known = known_ports(home)
    ports: dict[str, int] = {}
    for name in PROGRAMS:
        port = known.get(name)
        if not (isinstance(port, int) and 0 < port < 65536 and port_is_free(port)):  # noqa: PLR2004
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        ports[name] = port
    (home.state / "ports.json").write_text(json.dumps(ports), encoding="ascii")
    return ports
