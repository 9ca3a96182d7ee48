"""For a process that is to be killed in the middle of its work: it is, at a command it sends."""

import os
import signal

from pymongo import monitoring


class KilledAt(monitoring.CommandListener):
    """Ends this process as `kill -9` does when it sends a command the so-manieth time."""

    def __init__(self, command: str, collection: str, number: int) -> None:
        """`collection`: what its name begins with."""
        self._command, self._collection, self._left = command, collection, number

    def started(self, event) -> None:
        if str(event.command.get(self._command, "")).startswith(self._collection):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event) -> None: ...

    def failed(self, event) -> None: ...


def killed_at(command: str, collection: str, number: int) -> None:
    """Be killed then; for all clients that are made from now on."""
    monitoring.register(KilledAt(command, collection, number))
