"""Questions about hosts, about what was found on them, and what is missing."""

from pathlib import Path
from typing import Any

import click

from cli.commands import options
from cli.commands.options import HERDS, HOME, LIMIT, OFFSET, OUTPUT, SPAN, USERS

NAMES = click.option("--host", "hostname", multiple=True, help="Name or id of a host.")


def _list(home: Path | None, path: str, columns: tuple[str, ...], query: dict[str, Any]) -> None:
    from cli.output import rows
    from cli.rest import Gateway, RestError, fail

    form, wide = options.shown(query)
    try:
        found, total = Gateway(options.home_of(home)).get(path, **query)
    except RestError as error:
        fail(error, 4)
    rows(found, columns, form, total, wide=wide)


@click.command()
@HOME
@OUTPUT
@LIMIT
@OFFSET
@HERDS
@click.option("--search", default="", help="Part of a name or id.")
def hosts(home: Path | None, **query: Any) -> None:
    """List watched hosts."""
    columns = (
        *("hostID", "hostname", "herd", "level", "connected", "lastSeen", "gaps", "events"),
        *("behindStore", "spoolBytes", "agentRssBytes", "agentCpuMs"),
    )
    _list(home, "nightherd/hosts", columns, query)


@click.command()
@HOME
@OUTPUT
@LIMIT
@OFFSET
@NAMES
@HERDS
@SPAN
@click.option("--type", "type", multiple=True, help='E.g. "accounts modified".')
@USERS
@options.SERVICES
@click.option("--search", default="", help="Part of any text.")
def activities(home: Path | None, **query: Any) -> None:
    """List activities, newest first."""
    columns = ("time", "hostname", "user", "type", "interactive", "service", "command", "execID")
    _list(home, "forensic/activities", columns, query)


@click.command()
@HOME
@OUTPUT
@LIMIT
@OFFSET
@NAMES
@HERDS
@SPAN
@click.option("--type", "type", multiple=True, help="processes, network, filesystem.")
@USERS
@options.SERVICES
@click.option("--search", default="", help="Part of any text.")
def alerts(home: Path | None, **query: Any) -> None:
    """List alerts, newest first."""
    columns = ("time", "hostname", "severity", "count", "user", "msg", "execID")
    _list(home, "audits/runtime/host", columns, query)


@click.command()
@HOME
@OUTPUT
@LIMIT
@OFFSET
@options.HOSTS
@HERDS
@SPAN
@USERS
@options.SERVICES
@click.option("--state", multiple=True, help="open, quiet, acknowledged; default: all.")
def incidents(home: Path | None, **query: Any) -> None:
    """List alerts that belong together as incidents, by their last alert, newest first."""
    columns = ("firstTime", "lastTime", "hostname", "state", "users", "service", "alerts", "high")
    _list(home, "nightherd/incidents", (*columns, "attackTypes", "id"), query)


@click.command()
@HOME
@click.argument("incident")
@click.option("--note", default="", help="What came of it.")
def acknowledge(home: Path | None, incident: str, note: str) -> None:
    """Say that INCIDENT (an id) was seen, and close it. Later alerts make another one."""
    from urllib.parse import quote

    from chassis.text import show
    from cli.rest import Gateway, RestError, fail

    path = f"nightherd/incidents/{quote(incident, safe='')}/acknowledge"
    try:
        seen = Gateway(options.home_of(home)).post(path, {"note": note})
    except RestError as error:
        fail(error, 4)
    print(f"acknowledged by {show(seen['acknowledgedBy'])} at {seen['acknowledged']}")


@click.command()
@HOME
@OUTPUT
@LIMIT
@OFFSET
@options.HOSTS
@SPAN
def gaps(home: Path | None, **query: Any) -> None:
    """List stretches for which events are known to be missing, newest first."""
    columns = ("from", "to", "hostname", "cause", "lost", "precision", "source", "service")
    _list(home, "nightherd/gaps", (*columns, "detail"), query)
