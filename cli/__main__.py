"""`nightherd`: runs things on this machine and asks the gateway."""

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


@click.group(
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Nightherd watches hosts, learns what their services do, and keeps the evidence."""


if __name__ == "__main__":
    main(prog_name="nightherd")
