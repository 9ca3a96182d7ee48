"""Turns of speech that the sentences of the timeline share, each safe to read."""

from chassis.text import show

MOST_COMMAND = 200


def who(user: str, service: str) -> str:
    """Return who stands behind it: a person by name, else a service."""
    if service:
        return f"Service {show(service)}"
    return show(user) or "Somebody"


def program(executable: bytes) -> str:
    """Return the short name of a program."""
    return show(executable.rpartition(b"/")[2]) or "a program"


def on(terminal: str) -> str:
    """Return " on pts/1", or nothing."""
    return f" on {show(terminal)}" if terminal else ""


def origin(address: str) -> str:
    """Return " from 192.0.2.1", or nothing."""
    return f" from {show(address)}" if address else ""


def command(line: bytes) -> str:
    """Return a command line, cut to what a sentence takes."""
    shown = show(line) or "a program"
    return shown if len(shown) <= MOST_COMMAND else shown[: MOST_COMMAND - 1] + "…"


def files(count: int) -> str:
    """Return " and 3 more files", or nothing."""
    return f" and {count} more file{'s' if count > 1 else ''}" if count > 0 else ""


def account(user_id: int) -> str:
    """Return how an account of which the number is known is called."""
    return f"user {user_id}" if user_id else "root"
