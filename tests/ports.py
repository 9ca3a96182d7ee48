"""Ports for the servers that tests start."""

from cli import ports

_given: set[int] = set()


def free_port() -> int:
    """Return a free port that nobody in this session was given before."""
    port = ports.free_port(_given)
    _given.add(port)
    return port
