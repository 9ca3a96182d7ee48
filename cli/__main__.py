"""`nightherd`: runs things on this machine and asks the gateway."""

import os
import sys
from typing import Any

import click

from cli.commands import backups, events, evidence, findings, hosts, machine

COMMANDS = (
    *(machine.up, machine.doctor, machine.status, machine.version),
    *(findings.hosts, findings.activities, findings.alerts, findings.gaps),
    *(findings.incidents, findings.acknowledge),
    *(events.events, events.timeline, events.tree),
    *(evidence.export, evidence.verify, evidence.verify_heads),
    *(hosts.replay, hosts.enrol_token, hosts.direct, hosts.erase),
    backups.backup,
)


class Commands(click.Group):
    """Commands of which the output may find no room."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """See click.Group; what the system refuses is told in one line."""
        try:
            try:
                return super().main(*args, **extra)
            finally:
                sys.stdout.flush()
        except OSError as error:
            print(f"nightherd: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
            # What is still waiting must not be tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


@click.group(
    cls=Commands,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Nightherd watches hosts, learns what their services do, and keeps the evidence."""


if __name__ == "__main__":
    main(prog_name="nightherd")
